"""Networks whose data flow is odd: routers, tied and made-up weights, in-place sums, wrappers, several outputs.

`architectures.py` compares their profiles with a loop of single samples, as those of ordinary networks.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune, rnn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ODD"]

N, CLASSES, WIDTH = 3, 4, 12
Output = namedtuple("Output", ["logits", "features"])  # as third parties have it


def tokens(length: int = 7) -> Tensor:
    return torch.randint(3, 40, (N, length))


def rows() -> Tensor:
    return torch.randn(N, 6, WIDTH)


def images(size: int = 12) -> Tensor:
    return torch.randn(N, 3, size, size)


class Of(nn.Module):
    """Layers by name, and a function of them."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *x: Tensor) -> Any:
        return self.run(self, *x)


def linear(inputs: int = WIDTH, outputs: int = WIDTH, **options: Any) -> nn.Linear:
    return nn.Linear(inputs, outputs, **options)


def head(width: int = WIDTH) -> nn.Linear:
    return nn.Linear(width, CLASSES)


def hard_router(m: Any, x: Tensor) -> Tensor:
    out, on = torch.zeros_like(x), x[..., 0] > 0
    out[on], out[~on] = m.a(x[on]), m.b(x[~on])
    return m.head(torch.tanh(out).mean(1))


def sorted_router(m: Any, x: Tensor) -> Tensor:
    """Tokens of all samples sorted by their expert, each expert on its piece, and back."""
    flat = x.flatten(0, 1)
    expert = m.router(flat).argmax(-1)
    order = torch.argsort(expert, stable=True)
    pieces = flat[order].tensor_split([int((expert == 0).sum())])
    done = torch.cat([m.a(pieces[0]), m.b(pieces[1])])
    return m.head(torch.tanh(torch.empty_like(done).index_copy(0, order, done)).view_as(x).mean(1))


def capacity_router(m: Any, x: Tensor) -> Tensor:
    """Each sample's strongest two tokens go through, weighted."""
    weight, some = m.router(x).squeeze(-1).topk(2, 1)
    index = some.unsqueeze(-1).expand(-1, -1, x.shape[-1])
    back = torch.zeros_like(x).scatter_add(1, index, weight.sigmoid().unsqueeze(-1) * m.a(x.gather(1, index)))
    return m.head((x + back).mean(1))


def tied(m: Any, x: Tensor) -> Tensor:
    """The words' embedding also gives the scores of words, of which four are the classes."""
    y = torch.tanh(m.inner(m.words(x))).mean(1)
    return functional.linear(y, m.words.weight)[:, :CLASSES]


def autoencoder(m: Any, x: Tensor) -> Tensor:
    """The second half is the first, transposed."""
    y = torch.tanh(m.a(x))
    return m.head(torch.tanh(functional.linear(y, m.a.weight.t())).mean(1))


def in_place(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    y += m.b(x)
    y.mul_(0.5).add_(x)
    y = functional.relu(y, inplace=True)
    z = m.c(y)
    z[:, 0] = 0
    return m.head(z.tanh_().mean(1))


def views(m: Any, x: Tensor) -> Tensor:
    """Heads of one matrix written into slices of a buffer."""
    y = x.new_zeros(*x.shape[:2], 2 * WIDTH)
    y[..., :WIDTH], y[..., WIDTH:] = m.a(x), m.b(x)
    a, b = y.chunk(2, -1)
    return m.head((a * b.sigmoid()).mean(1))


class Scaled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * torch.tanh(w)


class Adapted(nn.Module):
    """A frozen layer and a low-rank one beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(2, WIDTH) / 3), nn.Parameter(torch.randn(WIDTH, 2) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0.5 * functional.linear(functional.linear(x, self.a), self.b)


class Merged(Adapted):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.base.weight + 0.5 * self.b @ self.a, self.base.bias)


class Packed(nn.Module):
    def __init__(self, layer: type, **options: Any) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(40, 8), layer(8, 6, batch_first=True, **options)
        self.head = nn.Linear(6 * (1 + options.get("bidirectional", False)), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        lengths = 2 + x[:, 0].cpu() % 5
        packed = rnn.pack_padded_sequence(self.words(x), lengths, batch_first=True, enforce_sorted=False)
        return self.head(rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0].sum(1))


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell, self.head = nn.Embedding(40, 8), nn.LSTMCell(8, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for word in self.words(x).unbind(1):
            state = self.cell(word, state)
        return self.head(state[0])  # type: ignore[index]  # there is a word


class Attention(nn.Module):
    """Queries, keys and values of one matrix, and masks of padding."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.words, self.qkv, self.out = nn.Embedding(40, WIDTH), linear(WIDTH, 3 * WIDTH), linear()
        self.norm, self.head = nn.RMSNorm(WIDTH), head()

    def forward(self, x: Tensor) -> Tensor:
        y = self.words(x)
        q, k, v = self.qkv(self.norm(y)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        mask = None if self.causal else (x % 5 != 0)[:, None, None] | torch.eye(x.shape[1], dtype=torch.bool)
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.head((y + self.out(found.transpose(1, 2).flatten(2))).mean(1))


class Spectral(nn.Module):
    """Complex weights, multiplied in the frequencies of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, CLASSES)
        self.weight = nn.Parameter(torch.view_as_real(torch.randn(6, 6, 4, 4, dtype=torch.cfloat)) / 6)

    def forward(self, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(self.first(x))
        w = torch.view_as_complex(self.weight.contiguous())
        f = torch.einsum("bihw,iohw->bohw", f[..., :4, :4], w)
        return self.head(torch.fft.irfft2(f, s=x.shape[-2:]).relu().mean((2, 3)))


class Hyper(nn.Module):
    """A layer that writes another layer's weights, one a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.writes, self.plain, self.head = linear(WIDTH, WIDTH * WIDTH), linear(), head()

    def forward(self, x: Tensor) -> Tensor:
        w = self.writes(x.mean(1)).view(-1, WIDTH, WIDTH)
        return self.head(torch.tanh(torch.bmm(self.plain(x), w)).mean(1))


class Shared(nn.Module):
    """One layer at several depths, as often as the number of positions says."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.norm, self.head = linear(), nn.LayerNorm(WIDTH), head()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(x.shape[1] // 2):
            x = x + torch.tanh(self.step(self.norm(x)))
        return self.head(x.mean(1))


class Listed(nn.Sequential):
    """It lists only the last of its weights, under other names, for its optimiser."""

    def named_parameters(self, *args: Any, **options: Any) -> Any:
        for name, parameter in super().named_parameters(*args, **options):
            if name.startswith("5."):
                yield f"head_{name}", parameter


def modified(layer: nn.Module, by: Callable[..., Any], *args: Any, **options: Any) -> nn.Module:
    by(layer, *args, **options)
    return layer


def normalised(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.Tanh(), linear(), nn.Tanh(), nn.Flatten(), nn.Linear(6 * WIDTH, CLASSES))


def through(m: Any, x: Tensor) -> Tensor:
    y = checkpoint(lambda x: torch.tanh(m.b(torch.tanh(m.a(x)))), x, use_reentrant=False)
    return m.head(y.mean(1))


def einsums(m: Any, x: Tensor) -> Tensor:
    y = torch.einsum("nld,hdk->nhlk", x, m.a.weight.view(2, WIDTH // 2, WIDTH).transpose(1, 2))
    return m.head(torch.einsum("nhlk,ok->nlo", y, m.b.weight[:, : WIDTH // 2]).tanh().mean(1))


def by_samples(m: Any, x: Tensor) -> Tensor:
    """Python goes through the samples."""
    return torch.stack([m.head(torch.tanh(m.a(one)).mean(0)) for one in x])


def through_vmap(m: Any, x: Tensor) -> Tensor:
    return m.head(torch.vmap(lambda one: torch.tanh(one @ m.a.weight.T))(x).mean(1))


def functional_copy(m: Any, x: Tensor) -> Tensor:
    changed = {"weight": m.a.weight * 1.5, "bias": m.a.bias}
    return m.head(torch.tanh(torch.func.functional_call(m.a, changed, (m.b(x),))).mean(1))


def conditional(m: Any, x: Tensor) -> Tensor:
    """Samples take one of two ways."""
    way = x.mean((1, 2)) > 0
    y = torch.where(way[:, None, None], m.a(x), m.b(x))
    return m.head(y.tanh().mean(1))


def siamese(m: Any, x: Tensor) -> Tensor:
    """Both halves of every sample in one batch of twice the size, samples first or halves first."""
    both = torch.cat([x[:, :3], x[:, 3:]])
    one, other = torch.tanh(m.a(both)).chunk(2)
    pairs = torch.tanh(m.b(torch.stack([one, other], 1).flatten(0, 1))).unflatten(0, (-1, 2))
    return m.head((pairs[:, 0] - pairs[:, 1]).abs().mean(1))


def windows(m: Any, x: Tensor) -> Tensor:
    """Pieces of all samples, pieces first."""
    pieces = m.a(x).unfold(2, 4, 4).unfold(3, 4, 4).permute(2, 3, 0, 1, 4, 5).flatten(0, 2)
    y = m.b(torch.tanh(pieces)).mean((2, 3)).unflatten(0, (9, -1))
    return m.head(torch.tanh(y).mean(0))


def both_ways(m: Any, x: Tensor) -> Tensor:
    """Positions before samples, as old networks have it."""
    return m.head(torch.tanh(m.a(x.transpose(0, 1))).mean(0))


def standard(**more: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    layers = {"a": linear(), "b": linear(), "head": head()}
    return layers | {name: make() for name, make in more.items()}


Built = tuple[nn.Module, Any]

ODD: dict[str, Callable[[], Built]] = {
    "hard router": lambda: (Of(hard_router, **standard()), rows()),
    "router by sorting": lambda: (Of(sorted_router, **standard(router=lambda: linear(WIDTH, 2))), rows()),
    "router by capacity": lambda: (Of(capacity_router, **standard(router=lambda: linear(WIDTH, 1))), rows()),
    "tied embedding": lambda: (Of(tied, words=nn.Embedding(40, WIDTH), inner=linear()), tokens()),
    "tied, transposed": lambda: (Of(autoencoder, **standard()), rows()),
    "in-place sums": lambda: (Of(in_place, **standard(c=linear)), rows()),
    "slices written": lambda: (Of(views, **standard()), rows()),
    "weight norm, new": lambda: (normalised(parametrizations.weight_norm(linear())), rows()),
    "weight norm, old": lambda: (normalised(nn.utils.weight_norm(linear())), rows()),
    "spectral norm": lambda: (normalised(parametrizations.spectral_norm(linear())), rows()),
    "orthogonal": lambda: (normalised(parametrizations.orthogonal(linear())), rows()),
    "parametrisation": lambda: (
        normalised(modified(linear(), parametrize.register_parametrization, "weight", Scaled())),
        rows(),
    ),
    "pruned by mask": lambda: (normalised(modified(linear(), prune.l1_unstructured, "weight", 0.3)), rows()),
    "checkpointed": lambda: (Of(through, **standard()), rows()),
    "compiled": lambda: (torch.compile(normalised(linear()), backend="eager"), rows()),  # type: ignore[dict-item]
    "data-parallel": lambda: (nn.DataParallel(normalised(linear())), rows()),
    "low-rank beside": lambda: (normalised(Adapted()), rows()),
    "low-rank merged": lambda: (normalised(Merged()), rows()),
    "tuple": lambda: (Of(lambda m, x: (m.head(m.a(x).tanh().mean(1)), m.b(x)), **standard()), rows()),
    "dict": lambda: (Of(lambda m, x: {"logits": m.head(m.a(x).tanh().mean(1)), "b": m.b(x)}, **standard()), rows()),
    "named tuple": lambda: (Of(lambda m, x: Output(m.head(m.a(x).tanh().mean(1)), m.b(x)), **standard()), rows()),
    "packed GRU": lambda: (Packed(nn.GRU), tokens()),
    "packed LSTM, both ways": lambda: (Packed(nn.LSTM, bidirectional=True), tokens()),
    "LSTM cell": lambda: (Cell(), tokens()),
    "attention, padding": lambda: (Attention(False), tokens()),
    "attention, causal": lambda: (Attention(True), tokens()),
    "complex weights": lambda: (Spectral(), images()),
    "hypernetwork": lambda: (Hyper(), rows()),
    "shared layer": lambda: (Shared(), rows()),
    "parameters listed anew": lambda: (Listed(*normalised(linear())), rows()),
    "einsums of views": lambda: (Of(einsums, **standard()), rows()),
    "sample by sample": lambda: (Of(by_samples, **standard()), rows()),
    "vmap inside": lambda: (Of(through_vmap, **standard()), rows()),
    "functional copy": lambda: (Of(functional_copy, **standard()), rows()),
    "one of two ways": lambda: (Of(conditional, **standard()), rows()),
    "siamese": lambda: (Of(siamese, **standard()), rows()),
    "pieces first": lambda: (
        Of(windows, a=nn.Conv2d(3, 6, 3, padding=1), b=nn.Conv2d(6, WIDTH, 3), head=head()),
        images(),
    ),
    "positions first": lambda: (Of(both_ways, **standard()), rows()),
    "bilinear": lambda: (
        Of(lambda m, x: m.head(torch.tanh(m.a(x, x.flip(1))).mean(1)), a=nn.Bilinear(WIDTH, WIDTH, 5), head=head(5)),
        rows(),
    ),
    "embedding bag": lambda: (
        Of(lambda m, x: m.head(torch.tanh(m.a(x))), a=nn.EmbeddingBag(40, WIDTH), head=head()),
        tokens(),
    ),
    "channels last": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            head(8),
        ).to(memory_format=torch.channels_last),
        images().contiguous(memory_format=torch.channels_last),
    ),
    "padded by hand": lambda: (
        nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(3, 8, 3),
            nn.PReLU(8),
            nn.Conv2d(8, 8, 3, padding="same", padding_mode="circular"),
            nn.PixelShuffle(2),
            nn.Conv2d(2, 8, 3),
            nn.InstanceNorm2d(8, affine=True),
            nn.Flatten(),
            nn.LazyLinear(CLASSES),
        ),
        images(8),
    ),
}
