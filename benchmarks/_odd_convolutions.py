"""Networks of images, graphs and loops with an odd data flow: scales, rolls, gathers, wrappers, gradients cut off.

`architectures.py` compares their profiles with a loop of single samples, as those of ordinary networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from _odd_networks import CLASSES, WIDTH, Of, head, images, linear, rows
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint_sequential

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ODD_CONVOLUTIONS"]

Built = tuple[nn.Module, Any]


def block(inputs: int = 8, outputs: int = 8, **options: Any) -> nn.Sequential:
    """A convolution, a batch norm that has seen something, and a rectifier in place."""
    norm = nn.BatchNorm2d(outputs)
    with torch.no_grad():
        for each in (norm.running_mean, norm.weight, norm.bias):
            each.normal_()
        norm.running_var.uniform_(0.2, 2)  # type: ignore[union-attr]  # it has one
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, **options), norm, nn.ReLU(True))


def pooled(m: Any, x: Tensor) -> Tensor:
    return m.head(x.mean((-2, -1)))


def stem(*, width: int = 8, **more: nn.Module) -> dict[str, nn.Module]:
    return {"stem": block(3, width), "head": head(width), **more}


def pyramid(m: Any, x: Tensor) -> Tensor:
    """The same convolution and norm at three scales."""
    x = m.stem(x)
    found = [m.body(functional.avg_pool2d(x, size)) for size in (1, 2, 3)]
    return sum(pooled(m, each) for each in found)  # type: ignore[return-value]  # of tensors


def rolled(m: Any, x: Tensor) -> Tensor:
    """Quarters of the channels, shifted each its own way."""
    parts = m.stem(x).chunk(4, 1)
    moved = [
        part.roll(shift, axis) for part, (shift, axis) in zip(parts, ((1, 2), (-1, 2), (1, 3), (-1, 3)), strict=True)
    ]
    return pooled(m, m.body(torch.cat(moved, 1)))


def best_places(m: Any, x: Tensor) -> Tensor:
    """The five places that score best, wherever they are in each image."""
    x = m.stem(x)
    score = m.score(x).flatten(1)
    places = score.topk(5).indices
    kept = x.flatten(2).gather(2, places[:, None].expand(-1, x.shape[1], -1))
    return m.head(torch.tanh(m.mix(kept.transpose(1, 2))).mean(1) * score.gather(1, places).mean(1, keepdim=True))


def unfolded(m: Any, x: Tensor) -> Tensor:
    """A convolution by hand: windows times a matrix."""
    windows = functional.unfold(m.stem(x), 3, stride=2).transpose(1, 2)
    return m.head(torch.relu(m.mix(windows)).amax(1))


def stopped(m: Any, x: Tensor) -> Tensor:
    """One branch is detached, the other is a step with the slope of a line."""
    x = m.stem(x)
    y = m.body(x.detach()) + m.other(x)
    step = (y > 0).to(y) + y.sigmoid() - y.sigmoid().detach()
    return pooled(m, x * step)


class Blur(nn.Module):
    """A fixed filter, kept as a buffer, before a learned one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = block(3, 8), block(), head(8)
        self.register_buffer(
            "filter", torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])).expand(8, 1, 3, 3) / 16
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(self.stem(x), self.filter, stride=2, groups=8)  # type: ignore[arg-type]  # a tensor
        return pooled(self, self.body(y))


class Causal(nn.Conv2d):
    """A convolution that masks its own weight each time."""

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones_like(self.weight)
        mask[:, :, 1:, 1:] = 0
        return functional.conv2d(x, self.weight * mask, self.bias, padding=1)


class Dynamics(nn.Module):
    """Steps of an equation: one block many times, its state changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = block(3, 8), block()[:2], head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step in (0.5, 0.3, 0.2):
            x = x.clone().add_(self.body(x), alpha=step)
        return pooled(self, x)


def graph(m: Any, x: Tensor) -> Tensor:
    """Nodes of every sample in one long list, summed along edges."""
    n, nodes, width = x.shape
    own = torch.arange(n).repeat_interleave(nodes) * nodes
    here = own + torch.arange(nodes).repeat(n)
    there = own + torch.arange(nodes).roll(1).repeat(n)
    h = x.reshape(-1, width)
    for layer in (m.a, m.b):
        sent = layer(h)
        h = torch.tanh(torch.zeros_like(sent).index_add_(0, there, sent[here]) + sent)
    return m.head(torch.zeros(n, width, dtype=h.dtype).index_add_(0, own // nodes, h))


def concatenated(m: Any, x: Tensor) -> Tensor:
    """Two layers as one product."""
    y = functional.linear(x, torch.cat([m.a.weight, m.b.weight]), torch.cat([m.a.bias, m.b.bias]))
    a, b = y.chunk(2, -1)
    return m.head((a.tanh() * b.sigmoid()).mean(1))


def samples_in_the_middle(m: Any, x: Tensor) -> Tensor:
    """Positions, samples, features; then features before samples."""
    x = torch.tanh(m.a(x.transpose(0, 1)))
    return m.head(torch.tanh(functional.linear(x.permute(0, 2, 1).transpose(1, 2), m.b.weight)).sum(0))


def capsules(m: Any, x: Tensor) -> Tensor:
    """Votes agree by rounds, all but the last of which are cut off."""
    votes = m.a(x).unflatten(-1, (3, 4))
    logits = torch.zeros_like(votes[..., :1])
    for turn in range(3):
        some = votes if turn == 2 else votes.detach()
        middle = (logits.softmax(2) * some).sum(1, keepdim=True)
        logits = logits + (some * middle.tanh()).sum(-1, keepdim=True)
    return m.head(middle.flatten(1))


def sampled(m: Any, x: Tensor) -> Tensor:
    """Places to look at that the network has chosen."""
    y = m.stem(x)
    base = functional.affine_grid(torch.eye(2, 3).to(y).expand(len(y), 2, 3), list(y.shape), align_corners=False)
    shift = torch.tanh(m.offset(y)).permute(0, 2, 3, 1)
    return pooled(m, m.body(functional.grid_sample(y, base + 0.1 * shift, align_corners=False)))


def kept(m: Any, x: Tensor) -> Tensor:
    """What layers put out is kept in a list, changed, and read again."""
    outputs = [m.stem(x)]
    for layer in m.layers:
        outputs.append(layer(sum(outputs)))  # type: ignore[arg-type]  # of tensors
        outputs[0] = outputs[0] * 0.5
    return pooled(m, torch.stack(outputs).logsumexp(0))


def whitened(m: Any, x: Tensor) -> Tensor:
    """Each sample less its own mean, with the norm's input read by what is behind it too."""
    conv, norm, _ = m.body
    y = conv(m.stem(x))
    return pooled(m, torch.relu(norm(y)) - y.mean((2, 3), keepdim=True) + y.std((2, 3), keepdim=True) * y)


def quantised(m: Any, x: Tensor) -> Tensor:
    """Weights rounded, with the slope of those that are not."""
    weight = m.a.weight
    rounded = weight + (torch.round(weight * 8) / 8 - weight).detach()
    return m.head(torch.tanh(functional.linear(x, rounded, m.a.bias)).mean(1))


def batch_ensemble(m: Any, x: Tensor) -> Tensor:
    """Four members that share a matrix, each with scales of its own."""
    members = torch.stack([m.a(x * scale) for scale in m.scales.weight])
    return m.head(members.tanh().mean((0, 2)))


def hooked() -> nn.Module:
    """Hooks that change an output, an input and a gradient."""
    model = nn.Sequential(block(3, 8), block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(8))
    conv: Any = model[1][0]  # type: ignore[index]  # a block
    conv.register_forward_hook(lambda layer, given, y: y * 1.5)
    conv.register_forward_pre_hook(lambda layer, given: (given[0] + 0.25,))
    model[0].register_full_backward_hook(lambda layer, given, found: (given[0],))
    return model


ODD_CONVOLUTIONS: dict[str, Callable[[], Built]] = {
    "pyramid, shared": lambda: (Of(pyramid, **stem(body=block())), images()),
    "shifted channels": lambda: (Of(rolled, **stem(body=block())), images()),
    "best places": lambda: (
        Of(best_places, **stem(width=WIDTH, score=nn.Conv2d(WIDTH, 1, 1), mix=linear())),
        images(),
    ),
    "unfolded by hand": lambda: (Of(unfolded, **stem(mix=linear(72, 8))), images()),
    "stopped gradients": lambda: (Of(stopped, **stem(body=block(), other=block()[:2])), images()),
    "fixed filter": lambda: (Blur(), images()),
    "masked convolution": lambda: (
        nn.Sequential(Causal(3, 8, 3), nn.ReLU(), Causal(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(8)),
        images(),
    ),
    "steps in time": lambda: (Dynamics(), images()),
    "graph": lambda: (Of(graph, a=linear(), b=linear(), head=head()), rows()),
    "layers concatenated": lambda: (Of(concatenated, a=linear(), b=linear(), head=head()), rows()),
    "samples in the middle": lambda: (Of(samples_in_the_middle, a=linear(), b=linear(), head=head()), rows()),
    "capsules": lambda: (Of(capsules, a=linear(), head=head()), rows()),
    "places chosen": lambda: (Of(sampled, **stem(body=block(), offset=nn.Conv2d(8, 2, 1))), images()),
    "outputs kept": lambda: (Of(kept, **stem(layers=nn.ModuleList([block(), block(groups=4)]))), images()),
    "norm's input read": lambda: (Of(whitened, **stem(body=block())), images()),
    "rounded weights": lambda: (Of(quantised, a=linear(), head=head()), rows()),
    "members with scales": lambda: (Of(batch_ensemble, a=linear(), scales=nn.Embedding(4, WIDTH), head=head()), rows()),
    "hooks": lambda: (hooked(), images()),
    "checkpoints in a row": lambda: (
        Of(
            lambda m, x: pooled(m, checkpoint_sequential(m.layers, 2, m.stem(x), use_reentrant=False)),
            **stem(layers=nn.Sequential(block(), block(), block())),
        ),
        images(),
    ),
    "lazy layers": lambda: (
        nn.Sequential(
            nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(True), nn.LazyConvTranspose2d(6, 2, stride=2),
            nn.LazyBatchNorm2d(), nn.Hardswish(True), nn.Flatten(), nn.LazyLinear(CLASSES),
        ),
        images(8),
    ),
}  # fmt: skip
