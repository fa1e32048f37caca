"""Sequences: what the dependence between frames does to tails, their standard errors, and alarms.

    python examples/evidence/sequence.py --data DIR --output DIR

Frames of a moving digit: some of MNIST's test digits, of the half that the network is calibrated on, are moved over a
field of 32×32 along a smooth random path, while angle, size and brightness change slowly. Profiles of all frames by the
true label, as they are and divided by their mean; the threshold is each unit's 0.90 quantile. Table <setting>.csv, unit
by unit:

theta         extremal index by the intervals estimator, 1/mean size of a cluster; run_length, clusters: of `decluster`
xi, se        all excesses as if independent; xi_peaks, se_peaks: the clusters' peaks alone
sd_sequences  what the standard error ought to be: standard deviation of ξ over bootstrap samples of whole sequences, at
              the same threshold; sd_peaks likewise for the peaks; sd_frames over samples of single frames, a control
              that se has to meet

Table <setting>-summary.csv, means and quantiles over the units, among them, over random halves of the sequences:

z         (ξ of one half − ξ of the other)/standard error, squared: mean 1, median 0.45 if standard errors are right
alarms    frames of one half beyond the level of probability 1e-3 under the other half's fit, over their nominal number:
          their mean; ``over-3``, the share of units with more than three times that number; ``none``, with none at all;
          ``dispersion``, variance over mean of the counts, 1 for a Poisson law
episodes  alarms at most ``run`` frames apart, of one sequence, count once; over the nominal number of alarms
halves    of ``frames``: a control, halves of the frames at random. Of ``sequences``, by the fit to all excesses, and by
          that to the ``peaks``, whose levels are those of N_u/n times the survival function of the peaks' GPD

The sequences stand one after another as one stream, so a cluster can go on into the next sequence.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import samples
import torch
from settings import Setting
from tables import write
from torch.nn import functional

from evtkit import Tail, fit_tail
from evtkit.dependence import decluster, extremal_index
from evtkit.saliency.reference import NORMALIZE, normalized

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from samples import Pair

SEQUENCES, FRAMES = 150, 40
QUANTILE, PROBABILITY = 0.90, 1e-3
SMOOTH = 5.0  # frames, the width of the kernel that makes paths smooth


def paths(rng: np.random.Generator, n: int) -> np.ndarray:
    """Smooth Gaussian paths of mean 0 and variance 1, (n, FRAMES)."""
    reach = int(4 * SMOOTH)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH) ** 2)
    noise = rng.standard_normal((n, FRAMES + 2 * reach))
    smooth = np.array([np.convolve(row, kernel, "valid") for row in noise])
    return smooth / np.sqrt(np.sum(kernel**2))


def frames(data: Path, seed: int = 0) -> Pair:
    """Frames in order of time, one sequence after another, as the network takes them.

    Standard deviations: 1.5 pixels either way, 8 degrees, 8 % of the size about 92 % of the usual one, 0.1 of the
    brightness about 0.9, which stays between 0.4 and 1.
    """
    own = samples.read(data, "mnist")
    rng = np.random.default_rng(seed)
    picked = rng.choice(5000, SEQUENCES, replace=False)
    right, down, angle, size, light = (paths(rng, SEQUENCES) for _ in range(5))
    angle, size = np.deg2rad(8.0) * angle, 0.92 * np.exp(0.08 * size)
    shift = np.stack([right, down], axis=-1) * 1.5 / 16.0  # of half the field
    turn = np.stack([np.stack([np.cos(angle), np.sin(angle)], -1), np.stack([-np.sin(angle), np.cos(angle)], -1)], -2)
    back = turn / size[..., None, None]  # from a place in the frame to the place in the digit
    grid = np.concatenate([back, -(back @ shift[..., None])], axis=-1).reshape(-1, 2, 3)
    digits = torch.from_numpy(own["x_test"][picked]).float() / 255
    digits = digits.repeat_interleave(FRAMES, dim=0)[:, None]
    places = functional.affine_grid(torch.from_numpy(grid).float(), [len(digits), 1, 32, 32], align_corners=False)
    x = functional.grid_sample(digits, places, mode="bilinear", align_corners=False)
    x = x * torch.from_numpy(np.clip(0.9 + 0.1 * light, 0.4, 1.0)).float().reshape(-1, 1, 1, 1)
    return ((x - 0.5) / 0.5).expand(-1, 3, -1, -1).contiguous(), own["y_test"][picked].astype(np.int64).repeat(FRAMES)


def rows_of(sequences: np.ndarray) -> np.ndarray:
    """Places of the frames of some sequences."""
    return (sequences[:, None] * FRAMES + np.arange(FRAMES)).ravel()


def tail_of(stream: np.ndarray, threshold: np.ndarray | None = None) -> Tail:
    if threshold is None:
        return fit_tail(stream, quantile=QUANTILE, keep_sample=False)
    return fit_tail(stream, threshold=threshold, keep_sample=False)


def peaks_of(stream: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The streams with all of a cluster but its peak brought down to the threshold, and run lengths."""
    peaks, lengths = np.minimum(stream, threshold), np.zeros(stream.shape[1], dtype=np.int64)
    for unit, u in enumerate(threshold):
        clusters = decluster(stream[:, unit], u)
        peaks[clusters.peak, unit] = clusters.peak_value
        lengths[unit] = clusters.run_length
    return peaks, lengths


def spread(stream: np.ndarray, threshold: np.ndarray, draw: Any, resamples: int) -> np.ndarray:
    """Standard deviation of ξ over bootstrap samples of the rows that `draw` gives."""
    rng = np.random.default_rng(0)
    found = [tail_of(stream[draw(rng)], threshold).xi for _ in range(resamples)]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.std(found, axis=0, ddof=1))


def whole_sequences(rng: np.random.Generator) -> np.ndarray:
    return rows_of(rng.integers(SEQUENCES, size=SEQUENCES))


def single_frames(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(SEQUENCES * FRAMES, size=SEQUENCES * FRAMES)


def episodes(beyond: np.ndarray, run: int) -> np.ndarray:
    """How many episodes a unit has; beyond: (sequences, FRAMES, units), whether there is an alarm."""
    count = np.zeros(beyond.shape[2])
    since = np.full((beyond.shape[0], beyond.shape[2]), run + 1)  # frames since the last alarm
    for frame in range(FRAMES):
        now = beyond[:, frame]
        count += np.sum(now & (since > run), axis=0)
        since = np.where(now, 1, since + 1)
    return count


def halves(stream: np.ndarray, splits: int, run: int) -> dict[str, list[np.ndarray]]:
    """Values of every unit, one array a split and direction, by their name."""
    found: dict[str, list[np.ndarray]] = {}

    def add(name: str, values: np.ndarray, fitted: np.ndarray) -> None:
        found.setdefault(name, []).append(np.where(fitted, values, np.nan))

    def z(kind: str, one: Tail, other: Tail) -> None:
        squared = (one.xi - other.xi) ** 2 / (one.se_xi**2 + other.se_xi**2)
        add(f"{kind} z", squared, ~np.isnan(squared))

    for split in range(splits):
        rng = np.random.default_rng([6, split])
        orders = {"sequences": rows_of(rng.permutation(SEQUENCES)), "frames": rng.permutation(len(stream))}
        for kind, rows in orders.items():
            parts = [stream[rows[: len(rows) // 2]], stream[rows[len(rows) // 2 :]]]
            tails = [tail_of(part) for part in parts]
            z(kind, *tails)
            levels = {kind: [tail.isf(PROBABILITY, law="plug-in") for tail in tails]}
            if kind == "sequences":
                peaks = [tail_of(peaks_of(p, t.threshold)[0], t.threshold) for p, t in zip(parts, tails, strict=True)]
                z("peaks", *peaks)
                # sf of the peaks' tail is clusters/n · S(x − u), and N_u/n is the rate that frames have
                levels["peaks"] = [
                    tail.isf(np.minimum(PROBABILITY * tail.n_excess / frame.n_excess, 1.0), law="plug-in")
                    for tail, frame in zip(peaks, tails, strict=True)
                ]
            for name, (one, other) in levels.items():
                for level, tail, part in ((one, tails[0], parts[1]), (other, tails[1], parts[0])):
                    beyond, nominal = part > level, PROBABILITY * len(part)
                    fitted = tail.is_fitted & ~np.isnan(level)
                    add(f"{name} alarms", beyond.sum(axis=0) / nominal, fitted)
                    if kind == "sequences":
                        three = beyond.reshape(-1, FRAMES, stream.shape[1])
                        add(f"{name} episodes", episodes(three, run) / nominal, fitted)
                        add(f"{name} sequences with an alarm", three.any(axis=1).mean(axis=0), fitted)
    return found


def sequence(setting: Setting, data: Path, resamples: int, splits: int, folder: Path) -> None:
    x, y = frames(data)
    wrong = setting.kept("sequence-predicted", lambda: setting.predicted(x)) != y
    profiles = setting.kept("sequence-mean-abs", lambda: setting.profiles(x, y))
    units = setting.net.units
    table: list[tuple[Any, ...]] = []
    summary: list[tuple[Any, ...]] = [(setting.name, "", "mistakes", *[float(wrong.mean())] * 4)]
    columns = (
        "theta", "run_length", "excesses", "clusters", "xi", "se", "xi_peaks", "se_peaks", "sd_frames", "sd_sequences",
        "sd_peaks",
    )  # fmt: skip
    for normalize in NORMALIZE:
        how = normalize or "none"
        stream = normalized(profiles, normalize).astype(np.float64)
        tail = tail_of(stream)
        u = tail.threshold
        peak_stream, lengths = peaks_of(stream, u)
        peaks = tail_of(peak_stream, u)
        theta = np.where(tail.n_excess > 1, extremal_index(stream, u), np.nan)
        sds = [
            spread(stream, u, single_frames, resamples), spread(stream, u, whole_sequences, resamples),
            spread(peak_stream, u, whole_sequences, resamples),
        ]  # fmt: skip
        by_unit = (
            theta, lengths, tail.n_excess, peaks.n_excess, tail.xi, tail.se_xi, peaks.xi, peaks.se_xi, *sds,
        )  # fmt: skip
        table += [
            (setting.name, how, name, stage, *values)
            for name, stage, *values in zip(units.names, units.stage, *by_unit, strict=True)
        ]
        both = tail.is_fitted & peaks.is_fitted

        def note(quantity: str, values: np.ndarray) -> None:
            known = values[np.isfinite(values)]
            quantiles = np.quantile(known, [0.05, 0.5, 0.95]).tolist()
            row = (setting.name, how, quantity, float(known.mean()), *quantiles)  # noqa: B023
            summary.append(row)
            print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row), flush=True)

        for name, values in zip(columns, by_unit, strict=True):
            note(name, np.where(both, values, np.nan))
        regular = both & (tail.xi > -0.5) & (peaks.xi > -0.5)
        claimed = (tail.se_xi, tail.se_xi, peaks.se_xi)
        for name, sd, se in zip(("frames", "sequences", "peaks"), sds, claimed, strict=True):
            note(f"{name} sd/se", np.where(regular, sd / se, np.nan))
        run = int(np.median(lengths[both]))
        for name, found in halves(stream, splits, run).items():
            counts = np.array(found)
            note(name, counts.ravel())
            if name.endswith("alarms"):
                nominal = PROBABILITY * len(stream) / 2
                known = counts[np.isfinite(counts)]
                note(f"{name} over-3", (known > 3.0).astype(float))
                note(f"{name} none", (known == 0.0).astype(float))
                note(f"{name} dispersion", np.nanvar(counts, axis=1) * nominal / np.nanmean(counts, axis=1))
    header = ("setting", "normalize", "quantity", "mean", "q05", "q50", "q95")
    write(folder / f"{setting.name}-summary.csv", header, summary)
    pictures = folder.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    picture(profiles, table, columns).savefig(pictures / "evidence-sequence.png", dpi=90)
    write(folder / f"{setting.name}.csv", ("setting", "normalize", "unit", "stage", *columns), table)


def picture(profiles: np.ndarray, table: list[tuple[Any, ...]], columns: tuple[str, ...]) -> Figure:
    """A unit's saliency over some sequences, with its clusters; and real over claimed standard errors of all units."""
    from matplotlib.figure import Figure

    from evtkit.plot._axes import MARK, MODEL, ink, quiet

    values = {name: np.array([row[4 + i] for row in table], dtype=float) for i, name in enumerate(columns)}
    some = np.array([row[1] for row in table]) == "sample"
    theta = values["theta"][some]
    unit = int(np.nanargmin(np.abs(theta - np.nanmedian(theta))))
    stream = normalized(profiles, "sample")[:, unit].astype(np.float64)
    u = float(np.sort(stream)[int(QUANTILE * len(stream))])
    clusters = decluster(stream, u)
    figure = Figure(figsize=(8.6, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    start = max(0, int(clusters.peak[np.argmax(clusters.size)]) // FRAMES - 4) * FRAMES
    stop = start + 10 * FRAMES
    shown = np.arange(start, min(stop, len(stream)))
    left.plot(shown, stream[shown], color=ink(left), linewidth=0.8, alpha=0.8)
    left.axhline(u, color=MODEL, linewidth=1.0)
    for edge in range(start, stop + 1, FRAMES):
        left.axvline(edge, color=ink(left), linewidth=0.6, alpha=0.25)
    peak = clusters.peak[(clusters.peak >= start) & (clusters.peak < stop)]
    left.plot(peak, stream[peak], "o", color=MARK, markersize=4.5, markeredgewidth=0)
    left.set(xlim=(start, stop), ylim=(0, None), xlabel="frame; a line where a sequence begins")
    left.set_ylabel("saliency / mean")
    left.set_title(f"{table[unit][2]}: threshold, and clusters' peaks", loc="left", fontsize="medium")
    kinds = (("sd_frames", "se", "frames alone", "#8a8a8a"), ("sd_sequences", "se", "sequences", MARK),
             ("sd_peaks", "se_peaks", "peaks alone", MODEL))  # fmt: skip
    for real, claimed, label, colour in kinds:
        ratio = (values[real] / values[claimed])[some]
        ratio = np.sort(ratio[np.isfinite(ratio)])
        right.step(ratio, np.arange(1, ratio.size + 1) / ratio.size, where="post", color=colour, label=label)
    right.axvline(1.0, color=ink(right), linewidth=0.8, alpha=0.5)
    right.set(xlim=(0, 4), ylim=(0, 1), xlabel="real / claimed standard error of ξ", ylabel="share of units")
    right.legend(frameon=False, fontsize="small", loc="lower right")
    quiet(left)
    quiet(right)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--setting", choices=("mnist_resnet18",), default="mnist_resnet18")
    parser.add_argument("--resamples", type=int, default=50)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["EVTKIT_NUM_THREADS"] = str(options.threads)
    folder = options.output / "sequence"
    if not (folder / f"{options.setting}.csv").exists():
        setting = Setting(options.setting, options.data, options.output)
        sequence(setting, options.data, options.resamples, options.splits, folder)
