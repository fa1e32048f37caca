"""Profiles of many architectures against a loop of single samples, in float64, random weights, all reductions.

    python benchmarks/architectures.py [--only NAME]

Networks of `transformers` (small configurations, nothing is downloaded), of plain PyTorch, and of odd data flow. For each: whether all
three reductions equal the loop to 1e-9 of the largest entry, how many of the covered weights needed one sample at a
time, and how much of the network its units cover.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import networks
from _odd_convolutions import ODD_CONVOLUTIONS
from _odd_networks import ODD
from _transformer_networks import CLASSES, OTHERS, PICTURES, TEXTS, Built, N, images, tokens, transformer
from _verdicts import verdict
from evtkit_torch import TorchModel

from evtkit.saliency.adapting import reduce_gradient

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("filters", "rows", "channels", "heads", "cells")


class Recurrent(nn.Module):
    def __init__(self, layer: type, **options: Any) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(40, 8), layer(8, 6, batch_first=True, **options)
        width = options.get("proj_size", 0) or 6
        self.head = nn.Linear(width * (1 + options.get("bidirectional", False)), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.words(x))[0].mean(1))


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Encoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, **options)
        self.words, self.body, self.head = (
            nn.Embedding(40, 16),
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Linear(16, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.words(x)).mean(1))


class Dense(nn.Module):
    """DenseNet: every layer sees all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(3 + 4 * i), nn.ReLU(), nn.Conv2d(3 + 4 * i, 4, 3, padding=1)) for i in range(4)
        )
        self.head = nn.Linear(19, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(11, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.inner(functional.silu(self.down(x))))
        return self.head(torch.cat([x, self.up(y)], 1)).mean((2, 3))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16)
        self.tokens, self.channels, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = y + self.tokens(self.norm(y).transpose(1, 2)).transpose(1, 2)
        return self.head((y + functional.gelu(self.channels(self.norm(y)))).mean(1))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.router = nn.Embedding(40, 8), nn.Linear(8, 3)
        self.experts, self.head = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        gate = self.router(x).softmax(-1)
        share, chosen = gate.max(-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            here = chosen == number
            out[here] = share[here][:, None] * torch.tanh(expert(x[here]))
        return self.head(out.mean(1))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w = functional.batch_norm(self.weight.view(1, len(self.weight), -1), None, None, training=True)
        return functional.conv2d(x, w.view_as(self.weight), self.bias, self.stride, self.padding)


def head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)]


def vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, width in ((3, 8), (8, 12), (12, 16)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return [*layers, *head(16)]


def inverted(width: int) -> nn.Module:
    wide = 3 * width
    return Residual(
        nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True),
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True),
        nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width),
    )  # fmt: skip


def weight_normalised() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), *head(8)
    )


PLAIN: dict[str, Callable[[], Built]] = {
    "VGG": lambda: (nn.Sequential(*vgg()), images()),
    "ResNet-18": lambda: (networks.resnet18(), images(8)),
    "ResNet-20 (CIFAR)": lambda: (networks.cifar_resnet(20), images(16)),
    "inverted residuals": lambda: (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), inverted(8), inverted(8), *head(8)), images()),
    "DenseNet": lambda: (Dense(), images(12)),
    "U-Net": lambda: (UNet(), images(12)),
    "MLP-Mixer": lambda: (Mixer(), images()),
    "GroupNorm network": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.GroupNorm(8, 8),
                      nn.SiLU(), *head(8)),
        images(12),
    ),
    "temporal convolutions": lambda: (
        nn.Sequential(nn.Conv1d(3, 8, 3, dilation=2, padding=4), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.AdaptiveAvgPool1d(1),
                      nn.Flatten(), nn.Linear(8, CLASSES)),
        torch.randn(N, 3, 20),
    ),
    "volumes": lambda: (
        nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 6, 3, groups=2), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                      nn.Linear(6, CLASSES)),
        torch.randn(N, 1, 7, 7, 7),
    ),
    "LSTM": lambda: (Recurrent(nn.LSTM), tokens()),
    "LSTM, two layers, both ways, projected": lambda: (
        Recurrent(nn.LSTM, num_layers=2, bidirectional=True, proj_size=4), tokens()),
    "GRU": lambda: (Recurrent(nn.GRU, bidirectional=True), tokens()),
    "Elman": lambda: (Recurrent(nn.RNN, nonlinearity="relu"), tokens()),
    "Transformer encoder": lambda: (Encoder(), tokens()),
    "Transformer encoder, norm first": lambda: (Encoder(norm_first=True, activation="gelu"), tokens()),
    "token-routed experts": lambda: (Experts(), tokens()),
    "weight standardisation": lambda: (nn.Sequential(Standardised(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), *head(8)), images(12)),
    "weight norm": lambda: (weight_normalised(), images(12)),
}  # fmt: skip


def scores(output: Any) -> Tensor:
    """The scores among what a network returns: its first output, or that of their name."""
    if isinstance(output, dict):
        return output["logits"]
    output = getattr(output, "logits", output)
    return output[0] if isinstance(output, tuple) else output


def loop(net: TorchModel, x: Any, y: Tensor) -> dict[str, np.ndarray]:
    """Every reduction from ordinary gradients of one sample at a time."""
    model, plan = deepcopy(net.model), net.profiler.plan  # LeViT keeps what it has computed, with its graph
    rows: dict[str, list[np.ndarray]] = {how: [] for how in ("taylor", "mean-abs", "l2")}
    named = {name: model.get_parameter(name).requires_grad_(True) for name in plan.parameters}
    weights = {name: p.detach().numpy() for name, p in named.items()}
    for i in range(N):
        # Twice, and the mean: PyTorch's kernel for batch norms in evaluation misreads some gradients of one sample alone.
        twice = [i, i]
        one = {key: value[twice] for key, value in x.items()} if isinstance(x, dict) else x[twice]
        output = model(**one) if isinstance(one, dict) else model(one)
        loss = functional.cross_entropy(scores(output), y[twice])
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        slopes = {
            name: np.zeros(p.shape) if g is None else g.to_dense().numpy()
            for (name, p), g in zip(named.items(), found, strict=True)
        }
        for how, into in rows.items():
            into.append(reduce_gradient(plan, how, slopes, weights))
    return {how: np.stack(into) for how, into in rows.items()}


def examine(name: str, model: nn.Module, x: Any) -> str:
    torch.manual_seed(1)
    model = model.double().eval()
    x = {k: v.double() if v.is_floating_point() else v for k, v in x.items()} if isinstance(x, dict) else (
        x.double() if x.is_floating_point() else x)  # fmt: skip
    y = torch.arange(N) % CLASSES
    with torch.no_grad():  # some layers want to see an input first
        several = type(model(**x) if isinstance(x, dict) else model(x)) is tuple
    worst, slow, net = 0.0, 0, None
    for how in ("taylor", "mean-abs", "l2"):
        net = TorchModel(model, units=KINDS, reduction=how, output=0 if several else None)
        if how == "taylor":
            try:
                want = loop(net, x, y)
            except Exception as error:
                return f"LOOP FAILS too: {type(error).__name__}: {str(error)[:100]}"
        got = net.profile(x, y)
        worst = max(worst, float(np.abs(got - want[how]).max() / np.abs(want[how]).max()))
        slow = max(slow, sum(part.size for part in net.coverage.slow))
    assert net is not None
    return verdict(net, worst, slow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    cases: dict[str, Callable[[], Built | None]] = PLAIN | ODD | ODD_CONVOLUTIONS
    for name in (*TEXTS, *PICTURES, *OTHERS):
        cases[f"{name} (transformers)"] = lambda name=name: transformer(name)
    counts: dict[str, int] = {}
    for name, build in cases.items():
        if options.only and not any(part in name for part in options.only.split(",")):
            continue
        torch.manual_seed(0)
        start = time.perf_counter()
        try:
            built = build()
        except Exception as error:  # a configuration that this version of the library does not take
            print(f"{name:40s} not built: {type(error).__name__}: {str(error)[:90]}", flush=True)
            continue
        if built is None:
            continue
        try:
            line = examine(name, *built)
        except Exception as error:  # what users would see
            line = f"REFUSED   {type(error).__name__}: {str(error)[:150]}"
        counts[line.split()[0]] = counts.get(line.split()[0], 0) + 1
        print(f"{name:40s} {line}   {time.perf_counter() - start:.1f} s", flush=True)
    print(counts)


if __name__ == "__main__":
    main()
