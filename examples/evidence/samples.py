"""Samples of the evidence: the images at hand, split by a fixed seed, and corruptions of them made on the spot.

Every set is a pair (x, y) as the network takes it: x a float32 tensor (n, 3, height, width), y int64.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional

Images = np.ndarray  # uint8, (n, height, width, 3)
Pair = tuple[Tensor, np.ndarray]

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
CORRUPTIONS = ("jpeg", "noise", "blur", "contrast")
LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt", "sv", "pl", "fi")
LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789-'’.,()&/áàâãäåąæçćéèêëęíìîïłñńóòôõöøœśúùûüýźżšž"
LONGEST = 24


def read(data: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(data / "images" / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def digits(images: np.ndarray) -> Tensor:
    """Digits as Wang & Sato (2023) prepare them: 32×32, three channels, normalised with mean and std 0.5."""
    x = torch.from_numpy(images).float() / 255
    x = x[:, None].expand(-1, 3, -1, -1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
    x = functional.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False, antialias=True)
    return ((x - 0.5) / 0.5).contiguous()


def mnist(data: Path) -> dict[str, Pair]:
    """Train, test, USPS (train, test), MNIST-M (two halves)."""
    own, usps, colour = read(data, "mnist"), read(data, "usps"), read(data, "mnist_m_test5k")
    pairs = {
        "train": (own["x_train"], own["y_train"]), "test": (own["x_test"], own["y_test"]),
        "usps_train": (usps["x_train"], usps["y_train"]), "usps": (usps["x_test"], usps["y_test"]),
        "mnist_m_train": (colour["x"][:2500], colour["y"][:2500]),
        "mnist_m": (colour["x"][2500:], colour["y"][2500:]),
    }  # fmt: skip
    return {name: (digits(x), y.astype(np.int64)) for name, (x, y) in pairs.items()}


def fashion(part: str) -> tuple[Images, np.ndarray]:
    """Fashion-MNIST (Xiao et al. 2017), "train" or "t10k", in three equal channels with a margin: 32×32 pixels."""
    with gzip.open(FASHION / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FASHION / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None].repeat(3, axis=3), labels


def standardise_fashion(images: Images) -> Tensor:
    return ((torch.from_numpy(images).float() / 255 - 0.286) / 0.353).permute(0, 3, 1, 2).contiguous()


def names(part: str) -> Pair:
    """Names in ten languages, of Unicode's CLDR as Babel has it: rows of letters' numbers, and which language it is.

    Parts are "train", "calibration" and "own", of names of languages, territories, scripts and cities, and "currencies"
    as a shift. What several languages share tells nothing and is left out.
    """
    from babel import Locale

    found: dict[tuple[bool, str], set[int]] = {}
    for number, language in enumerate(LANGUAGES):
        of = Locale(language)
        cities = [zone["city"] for zone in of.time_zones.values() if "city" in zone]
        others = [*of.languages.values(), *of.territories.values(), *of.scripts.values(), *cities]
        for money, each in ((False, others), (True, list(of.currencies.values()))):
            for name in each:
                found.setdefault((money, str(name).lower()[:LONGEST]), set()).add(number)
    kept = sorted((money, name, *who) for (money, name), who in found.items() if len(who) == 1)
    some = [row for row in kept if row[0] == (part == "currencies")]
    order = np.random.default_rng(0).permutation(len(some))
    cuts = {"train": slice(0, 3700), "calibration": slice(3700, 4600), "own": slice(4600, None)}
    rows = order[cuts.get(part, slice(None))]
    place = {letter: number for number, letter in enumerate(LETTERS, 2)}
    x = np.zeros((len(rows), LONGEST), np.int64)
    for i, row in enumerate(rows):
        x[i, : len(some[row][1])] = [place.get(letter, 1) for letter in some[row][1]]
    return torch.from_numpy(x), np.array([some[row][2] for row in rows], dtype=np.int64)


def pacs(data: Path) -> dict[str, tuple[Images, np.ndarray]]:
    """Domains as images (n, 64, 64, 3) and labels."""
    file = read(data, "pacs64_jpeg")
    raw, offset = file["bytes"].tobytes(), file["offset"]
    images = np.stack([
        np.asarray(Image.open(io.BytesIO(raw[start:stop])).convert("RGB"))
        for start, stop in itertools.pairwise(offset)
    ])  # fmt: skip
    return {
        name: (images[file["domain"] == name], file["y"][file["domain"] == name].astype(np.int64)) for name in DOMAINS
    }


def standardise_pacs(images: Images) -> Tensor:
    return ((torch.from_numpy(images).float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).contiguous()


def imagenet(data: Path) -> tuple[Images, np.ndarray]:
    """The middle 224 × 224 pixels of each photograph."""
    folder = data / "images" / "imagenet_val650"
    with (folder / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    images = [np.asarray(Image.open(folder / row["file"]).convert("RGB"))[1:225, 1:225] for row in rows]
    return np.stack(images), np.array([int(row["class_index"]) for row in rows])


def corrupt(images: Images, how: str, seed: int = 0) -> Images:
    """Corrupted copies.

    jpeg: quality 10; noise: Gaussian, standard deviation 0.08 of the range; blur: Gaussian, radius 1 pixel for 32-pixel
    images and in proportion for larger ones; contrast: 0.3 of it is left around each image's mean.
    """
    if how == "noise":
        noise = np.random.default_rng(seed).normal(0.0, 0.08 * 255, images.shape)
        return np.clip(images + noise, 0, 255).round().astype(np.uint8)
    if how == "contrast":
        mean = images.mean(axis=(1, 2, 3), keepdims=True)
        return np.clip(mean + 0.3 * (images - mean), 0, 255).round().astype(np.uint8)
    if how not in ("jpeg", "blur"):
        raise ValueError(f"got {how!r}, wanted one of {CORRUPTIONS}")
    return np.stack([_jpeg(image) if how == "jpeg" else _blur(image) for image in images])


def _jpeg(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=10)
    return np.asarray(Image.open(stream).convert("RGB"))


def _blur(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(image.shape[0] / 32)))
