"""Pictures of networks: units over depth, repairs, families, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evtkit._common.checks import real_array
from evtkit.plot._axes import BAND, MARK, MODEL, axes, ink, literal, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from evtkit.families import FamilyComparison

    class _Staged(Protocol):
        """A network's units, in order of depth."""

        @property
        def stage(self) -> NDArray[np.str_]: ...

        def __len__(self) -> int: ...

    class _UnitRanking(Protocol):
        """What is drawn of a ranking of units, which `evtkit.saliency` makes."""

        @property
        def units(self) -> _Staged: ...
        @property
        def by(self) -> str: ...
        @property
        def n_samples(self) -> int: ...
        @property
        def order(self) -> NDArray[np.int64]: ...
        @property
        def score(self) -> NDArray[np.float64]: ...

        def top(self, k: int) -> NDArray[np.int64]: ...

    class _Tried(Protocol):
        """One change of the weights that was looked at."""

        @property
        def candidate(self) -> str: ...
        @property
        def corrected(self) -> float: ...
        @property
        def learnt(self) -> float: ...
        @property
        def lost(self) -> float: ...

    class _Repair(Protocol):
        """What is drawn of a repair, which `evtkit.saliency.repair` makes."""

        @property
        def tried(self) -> Sequence[_Tried]: ...
        @property
        def chosen(self) -> int: ...
        @property
        def budget(self) -> float: ...
        @property
        def corrected(self) -> Any: ...
        @property
        def lost(self) -> Any: ...

    class _RepairResults(Protocol):
        """What is drawn of a repair's outcome, which `evtkit.saliency.evaluate` measures."""

        @property
        def by(self) -> tuple[str, ...]: ...
        @property
        def curves(self) -> Mapping[str, Any]: ...
        @property
        def means(self) -> dict[str, NDArray[Any]]: ...


__all__ = ["families", "input_saliency", "repair_curves", "repair_frontier", "unit_depth"]

COLOURS = {
    "pot": MODEL,
    "zscore": MARK,
    "excess": "#4f9d69",
    "spot-script": "#9467bd",
    "gradient": "#8c564b",
    "impact": "#c1352b",
    "random": "#8a8a8a",
}
OTHERS = ("#17a2b8", "#bc7a00", "#3d3d8f", "#b0468c")  # rankings of a user's own
_SCORES = {"pot": r"improbability $-\log\,p$", "spot-script": r"improbability $-\log\,p$", "zscore": "z-score"}
_LINES = {"spot-script": "--", "gradient": ":", "random": "-."}
_REPAIRS = {"prune": "set to zero", "tune": "one gradient step", "tune_equal": "step of equal length"}
_METRICS = {
    "wrong": "wrong class [%]",
    "true": "true class [%]",
    "corrected": "corrected [%]",
    "collateral": "held-out lost [%]",
}


def unit_depth(ranking: _UnitRanking, k: int = 25, ax: Axes | None = None) -> Axes:
    """The score that ranks, of every unit over its depth in the network, stage by stage, the first k marked.

    Parameters
    ----------
    ranking : evtkit.saliency.UnitRanking
        Of one sample, or of a set combined.
    k : int
        How many of the first units to mark.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        No unit lies above one that ranks before it. Triangles at the upper edge have no finite score: they lie beyond
        the end of their tail. Units without a score are not drawn, and the title counts them.

    Raises
    ------
    ValueError
        If the ranking is of several samples apart.

    See Also
    --------
    ranking : of any channels.

    Examples
    --------
    >>> from evtkit import plot
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> ax = plot.unit_depth(reference.rank(net.profile(x[:20], y[:20])), 5)
    """
    if ranking.order.ndim > 1:
        raise ValueError(f"ranking must be of one sample or set, got {len(ranking.order)} ranked apart; index it")
    ax = axes(ax, 8.6, 3.6)
    units, height = ranking.units, np.array(ranking.score)
    n_units, scored, endless = len(units), ~np.isneginf(height), np.isposinf(height)
    known = height[scored & ~endless]
    low, high = min(0.0, float(known.min(initial=0.0))), float(known.max(initial=0.0))
    edge = high + 0.12 * (high - low or 1.0)
    height[endless] = edge
    top = np.zeros(n_units, dtype=bool)
    top[ranking.top(min(k, n_units))] = True
    _shade_stages(ax, units.stage.tolist())
    depth, size = np.arange(n_units), 14.0 if n_units < 3000 else 6.0
    other, marked, beyond = scored & ~top, scored & top & ~endless, top & endless
    ax.scatter(depth[other], height[other], size, color=ink(ax), alpha=0.35, linewidth=0, label="units")
    ax.vlines(depth[marked | beyond], 0.0, height[marked | beyond], color=MARK, linewidth=1.0, alpha=0.6)
    ax.scatter(depth[marked], height[marked], 26, color=MARK, linewidth=0, label=f"first {int(top.sum())}", zorder=3)
    if np.any(beyond):
        ax.scatter(depth[beyond], height[beyond], 40, color=MARK, marker="^", linewidth=0, zorder=3, clip_on=False,
                   label="first, beyond the endpoint: p = 0")  # fmt: skip
    name, missing = literal(ranking.by), int(np.count_nonzero(~scored))
    what = f"by {name}" + (f" over {ranking.n_samples:,} samples" if ranking.n_samples > 1 else "")
    what += f", {missing:,} without a score" if missing else ""
    ax.set(xlim=(-0.5, n_units - 0.5), ylim=(low - 0.04 * (edge - low) * (low < 0.0), edge + 0.04 * (edge - low)))
    ax.set(xlabel="unit, in order of depth", ylabel=_SCORES.get(ranking.by, f"score: {name}"))
    ax.set_title(f"{n_units:,} units, {what}", loc="left", pad=20, fontsize="medium")
    quiet(ax)
    ax.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.06), ncols=3, borderpad=0)
    return ax


def _shade_stages(ax: Axes, stages: list[str]) -> None:
    """Every other stage in grey, with the names of those wide enough for one."""
    start = 0
    for number, (stage, count) in enumerate(_runs(stages)):
        if number % 2:
            ax.axvspan(start - 0.5, start + count - 0.5, color=ink(ax), alpha=0.05, linewidth=0)
        if count > 0.02 * len(stages):
            ax.text(start + count / 2, 1.01, literal(stage), transform=ax.get_xaxis_transform(), ha="center",
                    va="bottom", fontsize="small", alpha=0.75)  # fmt: skip
        start += count


def repair_curves(results: _RepairResults, figure: Figure | None = None) -> Figure:
    """What repairs correct and cost over the number of units changed: a row a repair, a column a metric.

    Parameters
    ----------
    results : evtkit.saliency.RepairResults
        What `evtkit.saliency.evaluate` found.
    figure : matplotlib Figure, optional
        Where to draw; by default a new one, which pyplot does not know of.

    Returns
    -------
    matplotlib Figure
        In each row the ranking that corrects most has its band of 95 %.

    See Also
    --------
    repair_frontier : of `evtkit.saliency.repair`.

    Examples
    --------
    >>> from evtkit import plot
    >>> from evtkit.saliency import Batches, calibrate, evaluate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> results = evaluate(
    ...     net, reference, samples(100, seed=2), by=("impact", "random"), prune=(1, 2), tune=(), progress=False)
    >>> figure = plot.repair_curves(results)
    """
    s = results.means
    metrics = [m for m in _METRICS if m != "collateral" or not np.all(np.isnan(s[m]))]
    if figure is None:
        figure = Figure(figsize=(2.7 * len(metrics), 2.4 * len(results.curves) + 0.5), layout="constrained")
    grid = figure.subplots(len(results.curves), len(metrics), squeeze=False)
    lines: list[Any] = []
    for row, repair in enumerate(results.curves):
        best = _corrects_most(s, repair, results.by)
        for column, metric in enumerate(metrics):
            ax: Any = grid[row, column]
            for number, name in enumerate(results.by):
                some = (s["repair"] == repair) & (s["by"] == name) & ~np.isnan(s[metric])
                k, colour = s["k"][some], COLOURS.get(name, OTHERS[number % len(OTHERS)])
                mark = "o" if len(k) < 8 else ""
                lines += ax.plot(k, 100 * s[metric][some], _LINES.get(name, "-"), marker=mark, markersize=3.5,
                                 color=colour, linewidth=1.5)  # fmt: skip
                if name != best:  # one band shows how sure the curves are; six would hide them
                    continue
                ax.fill_between(k, 100 * s[f"{metric}_low"][some], 100 * s[f"{metric}_high"][some], color=colour,
                                alpha=BAND, linewidth=0)  # fmt: skip
            quiet(ax)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if metric in ("wrong", "true"):
                ax.axhline(0.0, color=ink(ax), linewidth=0.8, alpha=0.5)
            if row == 0:
                ax.set_title(_METRICS[metric], fontsize="medium")
            if row == len(results.curves) - 1:
                ax.set_xlabel("units changed, k")
            if column == 0:
                ax.set_ylabel(_REPAIRS[repair])
    labels = [literal(name) for name in results.by]  # given here, for one that begins with _ would be hidden
    figure.legend(lines[: len(labels)], labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _corrects_most(means: Mapping[str, NDArray[Any]], repair: str, names: Sequence[str]) -> str:
    """The ranking whose largest share of corrected mistakes is the largest; the first of equal ones."""
    corrected = np.where(means["repair"] == repair, means["corrected"], -np.inf)
    return max(names, key=lambda name: float(np.nanmax(np.where(means["by"] == name, corrected, -np.inf))))


def repair_frontier(repair: _Repair, ax: Axes | None = None) -> Axes:
    """What a repair's candidates correct over what they cost, step by step, and what the one taken does elsewhere.

    Parameters
    ----------
    repair : evtkit.saliency.Repair
        What `evtkit.saliency.repair` made.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        A line a candidate, of the mistakes that choose. The budget is shaded. The cross, with its 95 % intervals, is
        the change that was taken, on samples that had no say.

    See Also
    --------
    repair_curves : of `evtkit.saliency.evaluate`.

    Examples
    --------
    >>> from evtkit import plot
    >>> from evtkit.saliency import Batches, calibrate, repair
    >>> from evtkit.saliency.toy import Toy, samples
    >>> x, y = samples(3000, noise=0.0)
    >>> net = Toy(reduction="taylor")
    >>> reference = calibrate(net, Batches(x[:1000], y[:1000]), progress=False)
    >>> net.rows[5][:] *= -4.0
    >>> wrong = net.predict(x).argmax(axis=1) != y
    >>> mended = repair(net, reference, (x[wrong][:40], y[wrong][:40]), (x[~wrong][:900], y[~wrong][:900]), units=[5])
    >>> ax = plot.repair_frontier(mended)
    """
    ax = axes(ax, 6.4, 3.8)
    colours = (MARK, "#c1352b", "#bc7a00", "#9467bd", MODEL, *OTHERS)
    told = [one for one in repair.tried if not np.isnan(one.corrected)]
    names = list(dict.fromkeys(one.candidate for one in told))
    ax.axvspan(0.0, 100 * repair.budget, color=ink(ax), alpha=0.06, linewidth=0)
    for number, name in enumerate(names):
        own = [one for one in told if one.candidate == name]
        colour = colours[number % len(colours)]
        ax.plot([100 * one.lost for one in own], [100 * one.corrected for one in own], marker="o", markersize=3.0,
                linewidth=1.0, color=colour, alpha=0.8, label=name)  # fmt: skip
    if repair.chosen >= 0:
        x, y = repair.lost, repair.corrected
        across = [[100 * (x.value - x.low)], [100 * (x.high - x.value)]]
        along = [[100 * (y.value - y.low)], [100 * (y.high - y.value)]]
        ax.errorbar(100 * x.value, 100 * y.value, xerr=across, yerr=along, fmt="X", markersize=8, capsize=2,
                    color=ink(ax), linewidth=1.0, label="taken, on others", zorder=4)  # fmt: skip
    ax.set(xlabel="lost of the samples to keep [%]", ylabel="mistakes corrected [%]", ylim=(-4.0, 104.0))
    costs = sorted(one.lost for one in repair.tried)
    most = costs[int(0.9 * (len(costs) - 1))] if costs else 0.0
    ax.set_xlim(-0.05 * (1 + 100 * most), 100 * max(1.2 * most, 2.0 * repair.budget, repair.lost.value * 1.2))
    quiet(ax)
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def families(comparison: FamilyComparison, figure: Figure | None = None) -> Figure:
    """How much worse or better other families describe the excesses, unit by unit, and how often each is best.

    Parameters
    ----------
    comparison : evtkit.families.FamilyComparison
        What `evtkit.families.compare_families` found.
    figure : matplotlib Figure, optional
        Where to draw; by default a new one, which pyplot does not know of.

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import plot
    >>> from evtkit.families import compare_families
    >>> figure = plot.families(compare_families(np.random.default_rng(0).exponential(size=(200, 9))))
    """
    if figure is None:
        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    s = comparison.by_family
    some = comparison.comparable
    colours = [MODEL, MARK, "#4f9d69", "#9467bd", "#8a8a8a"]
    shown = max(float(np.quantile(np.abs(comparison.loglik[1:, some] - comparison.loglik[0, some]), 0.95)), 1e-4)
    for f, family in enumerate(s["family"].tolist()):
        if f:
            gap = np.sort(comparison.loglik[f, some] - comparison.loglik[0, some])
            left.step(gap, np.arange(1, gap.size + 1) / gap.size, color=colours[f], label=family, where="post")
    left.axvline(0.0, color=ink(left), linewidth=0.8, alpha=0.5)
    left.set(xlim=(-shown, shown), ylim=(0.0, 1.0), ylabel="share of units")
    left.set(xlabel="log-likelihood per excess, less the GPD's")
    left.legend(frameon=False, fontsize="small")
    place = np.arange(len(colours))[::-1]
    right.barh(place, 100 * s["best"], color=colours, height=0.6)
    right.set_yticks(place, s["family"].tolist())
    right.set(xlabel="units for which its AIC is best [%]")
    quiet(left)
    quiet(right)
    return figure


def input_saliency(image: ArrayLike, saliency: ArrayLike, figure: Figure | None = None) -> Figure:
    """An image, and its input-space saliency between the 90th and the 99th percentile (Levin et al. 2021).

    Parameters
    ----------
    image : array_like, shape (height, width) or (height, width, 3)
        In [0, 1] or [0, 255].
    saliency : array_like, shape (height, width)
        From an adapter, such as `evtkit_torch.input_saliency.input_saliency`.
    figure : matplotlib Figure, optional
        Where to draw; by default a new one.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        If the two differ in height or width.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import plot
    >>> image = np.random.default_rng(0).random((8, 8))
    >>> figure = plot.input_saliency(image, np.abs(image - 0.5))
    """
    picture, heat = np.squeeze(real_array(image, "image")), np.squeeze(real_array(saliency, "saliency"))
    if heat.ndim != 2 or picture.shape[:2] != heat.shape:
        raise ValueError(
            f"image and saliency must have the same height and width, got {picture.shape} and {heat.shape}"
        )
    if picture.max() > 1.0:
        picture = picture / 255.0
    low, high = np.percentile(heat, [90.0, 99.0])
    if figure is None:
        figure = Figure(figsize=(6.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for ax in (left, right):
        ax.imshow(picture.clip(0.0, 1.0), cmap="gray", interpolation="nearest")
        ax.set_axis_off()
    strength = np.clip((heat - low) / max(high - low, np.finfo(float).tiny), 0.0, 1.0)
    right.imshow(strength, cmap="inferno", alpha=np.maximum(0.25, strength), interpolation="nearest")
    left.set_title("input", fontsize="medium")
    right.set_title("where the first units look", fontsize="medium")
    return figure


def _runs(values: list[str]) -> list[tuple[str, int]]:
    """Consecutive equal values with how often each comes."""
    runs: list[tuple[str, int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return runs
