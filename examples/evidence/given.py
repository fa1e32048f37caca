"""Tails of saliency given the loss or the class, against division by the mean size: which finds planted faults better?

    python examples/evidence/given.py --data DIR --output DIR --setting cifar_resnet20 --faults 40 --tables docs/tables

Faults as in faults.py; ten mistakes each, their Taylor profiles and losses. A unit's tail has its threshold at the 0.90
quantile, a GPD above it, and what lies below counts as the threshold. Given the loss: the quantile in ten classes of
loss, interpolated in its logarithm, and a scale of relative excesses that is log-linear in it. Given the class: a tail
a class. Ranks of the damaged unit by −log p and by impact, of single mistakes and of five together.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import command
import numpy as np
import torch
from faults import FEWEST, damage, draw, mistakes, weights_of

from evtkit import covariates, fit_gpd, gpd
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from settings import Setting

QUANTILE, MISTAKES, TOGETHER = 0.9, 10, 5
EDGES = [0.0, 0.5, 0.7, 0.8, 0.86, 0.9, 0.93, 0.955, 0.975, 0.99, 1.0]  # of the losses' classes


def losses(setting: Setting, x: torch.Tensor, y: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        parts = [setting.network(part) for part in x.split(setting.batch)]
        return torch.nn.functional.cross_entropy(torch.cat(parts), torch.as_tensor(y), reduction="none").numpy()


def collected(setting: Setting, faults: int, pool: int) -> list[dict[str, np.ndarray]]:
    """Unit, profiles, losses and classes of the mistakes that each fault makes."""
    folder = setting.output / "given" / setting.name
    folder.mkdir(parents=True, exist_ok=True)
    right = setting.right()[:pool]
    x, y = setting.own[0][right], setting.own[1][right]
    for number in range(faults):
        path = folder / f"{number:04}.npz"
        if path.exists():
            continue
        unit, kind, rng = draw(setting.net, number)
        with damage(weights_of(setting.network, setting.net.units, unit), kind, rng):
            wrong = mistakes(setting, x, y)
            some = rng.permutation(wrong)[:MISTAKES] if len(wrong) >= FEWEST else wrong[:0]
            own = setting.profiles(x[some], y[some], "taylor") if len(some) else np.empty(0)
            loss = losses(setting, x[some], y[some]) if len(some) else np.empty(0)
        np.savez(path, unit=unit, kind=kind, profiles=own, loss=loss, label=y[some])
        print(f"{number}: {kind}, {len(wrong)} mistakes", flush=True)
    found = [dict(np.load(path)) for path in sorted(folder.glob("[0-9]*.npz"))]
    return [one for one in found if len(one["loss"]) >= FEWEST]


def plain(s: np.ndarray) -> Callable[..., np.ndarray]:
    """−log p of values (n, units), by one tail a unit."""
    u = np.quantile(s, QUANTILE, axis=0)
    fit = fit_gpd(np.where(s > u, s - u, np.nan))

    def rarity(values: np.ndarray, *_: object) -> np.ndarray:
        beyond = gpd.logsf(np.maximum(values - u, 0.0), fit.xi, np.where(fit.sigma > 0.0, fit.sigma, 1.0))
        return -np.log(1.0 - QUANTILE) - np.nan_to_num(beyond, nan=0.0, neginf=-700.0)

    return rarity


def by_class(s: np.ndarray, label: np.ndarray) -> Callable[..., np.ndarray]:
    """The same, by a tail a unit and class."""
    own = {c: plain(s[label == c]) for c in np.unique(label)}

    def rarity(values: np.ndarray, loss: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.concatenate([own[c](row[None]) for row, c in zip(values, labels, strict=True)])

    return rarity


def by_loss(s: np.ndarray, loss: np.ndarray) -> Callable[..., np.ndarray]:
    """The same, by tails whose threshold and relative scale depend on the loss."""
    log = np.log(np.maximum(loss, 1e-8))
    edges = np.quantile(log, EDGES)
    place = np.clip(np.searchsorted(edges, log, side="right") - 1, 0, len(edges) - 2)
    centres = np.array([np.median(log[place == k]) for k in range(len(edges) - 1)])
    levels = np.stack([np.quantile(s[place == k], QUANTILE, axis=0) for k in range(len(edges) - 1)])
    levels = np.maximum(levels, 1e-6 * levels.max(axis=0))  # (classes, units)

    def threshold(at: np.ndarray) -> np.ndarray:
        return np.exp(np.stack([np.interp(at, centres, np.log(np.maximum(own, 1e-300))) for own in levels.T], axis=1))

    u = threshold(log)
    base, slope, xi = np.zeros(s.shape[1]), np.zeros(s.shape[1]), np.zeros(s.shape[1])
    for j in range(s.shape[1]):
        above = s[:, j] > u[:, j]
        fit = covariates.fit_gpd(s[above, j] / u[above, j] - 1.0, sigma=log[above]) if above.sum() > 20 else None
        if fit is not None and fit.status == FitStatus.OK:
            base[j], slope[j], xi[j] = fit.coefficients

    def rarity(values: np.ndarray, losses: np.ndarray, *_: object) -> np.ndarray:
        at = np.log(np.maximum(losses, 1e-8))
        beyond = np.maximum(values / threshold(at) - 1.0, 0.0)
        scale = np.exp(base + slope * np.clip(at, log.min(), log.max())[:, None])
        return -np.log(1.0 - QUANTILE) - np.maximum(gpd.logsf(beyond, xi, scale), -700.0)

    return rarity


def ranks(scores: np.ndarray, unit: int) -> np.ndarray:
    """Place of the unit in each row, 1 the first."""
    return 1 + np.count_nonzero(scores > scores[:, [unit]], axis=1)


def table(setting: Setting, faults: int, pool: int, n: int) -> list[dict[str, object]]:
    x, y = (part[:n] for part in setting.calibration)
    raw = setting.kept(f"calibration-taylor-{n}", lambda: setting.profiles(x, y, "taylor")).astype(float)
    loss = setting.kept(f"calibration-loss-{n}", lambda: losses(setting, x, y))
    found = collected(setting, faults, pool)

    def size(s: np.ndarray) -> np.ndarray:
        return np.abs(s).mean(axis=1, keepdims=True)

    kept = size(raw)[:, 0] > 0.0
    raw, loss, label = raw[kept], loss[kept], y[kept]
    divided = raw / size(raw)
    laws = {
        "as they are": (False, plain(raw)), "divided by the mean size": (True, plain(divided)),
        "given the loss": (False, by_loss(raw, loss)), "given the class": (False, by_class(raw, label)),
        "divided, given the loss": (True, by_loss(divided, loss)),
        "divided, given the class": (True, by_class(divided, label)),
    }  # fmt: skip
    rows: list[dict[str, object]] = []
    for name, (divides, rarity) in laws.items():
        places: dict[str, list[float]] = {}
        for one in found:
            s = one["profiles"].astype(float)
            shown = s / size(s)
            rare = rarity(shown if divides else s, one["loss"], one["label"])
            for by, scores in (("−log p", rare), ("impact", shown * rare)):
                alone = ranks(scores[:TOGETHER], int(one["unit"]))
                together = ranks(scores[:TOGETHER].mean(axis=0, keepdims=True), int(one["unit"]))
                places.setdefault(f"{by}, one mistake", []).append(float(np.mean(1.0 / alone)))
                places.setdefault(f"{by}, five", []).append(float(1.0 / together[0]))
        rows.append({"tails of profiles": name} | {k: f"{np.mean(v):.2f} ± {np.std(v) / len(v) ** 0.5:.2f}"
                                                    for k, v in places.items()})  # fmt: skip
        print(*rows[-1].values(), f"({len(found)} faults)", sep="  ", flush=True)
    return rows


def write(rows: list[dict[str, object]], folder: Path) -> None:
    with (folder / "evidence-given.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--pool", type=int, default=600)
    parser.add_argument("--calibration", type=int, default=5000)
    parser.add_argument("--tables", default=None)
    options = command.parsed(parser)
    made = table(command.chosen(options), options.faults, options.pool, options.calibration)
    if options.tables:
        from pathlib import Path as Folder

        write(made, Folder(options.tables))
