"""Evaluate: do the units that a ranking puts first matter? Change them, one mistake at a time, and look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from evtkit.ranking import SCORES
from evtkit.saliency.batches import Batches, size_of, take
from evtkit.saliency.results import METRICS, RepairCurves, RepairResults
from evtkit.saliency.sweeping import HeldOut, Outcome, Sweep
from evtkit.saliency.tasks import mistaken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference

__all__ = ["evaluate"]

_PRUNE = tuple(range(1, 51))
_TUNE = tuple(range(1, 26))


def evaluate(
    model: SaliencyModel,
    reference: Reference,
    samples: tuple[Any, Any],
    *,
    held_out: tuple[Any, Any] | None = None,
    by: Sequence[str] = tuple(SCORES),
    scores: Mapping[str, Callable[[Any, Any], ArrayLike]] | None = None,
    prune: Sequence[int] | None = None,
    tune: Sequence[int] | None = None,
    step: float = 1e-3,
    equal_norm: bool = False,
    collateral_k: Sequence[int] = (1, 5, 25),
    batch_size: int = 64,
    n_boot: int = 1000,
    seed: int = 0,
    progress: bool = True,
    wrong: Callable[[Any, Any], Any] | None = None,
) -> RepairResults:
    """Repair each mistake by changing its first k units, for every ranking, and report what that does.

    The protocol of Wang & Sato (2023, arXiv 2310.17951): each sample has rankings of its own; its first k units are set
    to zero ("prune"), or take one gradient step on the sample's own loss ("tune"), with the gradient taken once at the
    original weights; what the network then says of the sample is recorded, and the weights are put back. Beyond the
    paper: what the same change does to held-out samples that were right, bootstrap bands, and updates of equal length.

    The rankings are of the model's own profile, normalised as the reference is: of Taylor saliency by default. Those of
    the paper want a model with ``reduction="mean-abs"`` and a reference calibrated with ``normalize=None``.

    Parameters
    ----------
    model : SaliencyModel
        The network. Its weights are afterwards what they were, bit for bit.
    reference : Reference
        From `calibrate` on the same network; not on these samples.
    samples : (x, y)
        Labelled samples. Those that the network gets right are left out and counted.
    held_out : (x, y), optional
        Samples on which to measure collateral: the share of those right before that a repair gets wrong. Costs a
        prediction of all of them for every sample, ranking and k of ``collateral_k``.
    by : sequence of str
        Rankings of the model's profile to compare; see `evtkit.Ranking`.
    scores : mapping of str to callable, optional
        Further rankings by name: from a batch (x, y) to scores of shape (samples, units), larger first. It may be
        another profile of the same network with a reference of its own, or anything else.
    prune, tune : sequence of int, optional
        How many units to change; by default 1 to 50 and 1 to 25, up to the number of units. Empty: none.
    step : float
        Multiple of the gradient that is subtracted when tuning.
    equal_norm : bool
        Also tune with updates of equal Euclidean length ("tune_equal"): at each k, that of the equal-step update of the
        k units with the largest gradients, the longest that any ranking could have had. At equal step, a ranking that
        picks large gradients changes more, whatever it means.
    collateral_k : sequence of int
        The k at which collateral is measured.
    batch_size : int
        Samples profiled, held-out samples predicted, or repairs of a mistake tried, at a time. Does not change the
        results, but for rounding.
    n_boot, seed : int
        Bootstrap resamples; seed of these and of the random ranking.
    progress : bool
        Show a bar (on a terminal's standard error).
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)`` of what ``model.predict`` returns: for regression
        ``lambda p, y: abs(p[:, 0] - y) > 5``. By default a class other than the label or, for a model with
        ``task="labels"``, any label on the wrong side of 1/2. Without classes to predict, changes of confidence are
        NaN.

    Returns
    -------
    RepairResults

    Raises
    ------
    ValueError
        If the reference is another network's, no sample is a mistake, a ranking is unknown, a k is out of its range, or
        a step is not positive.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net = Toy()
    >>> reference = calibrate(net, Batches(*samples(1000)), normalize=None, progress=False)
    >>> results = evaluate(
    ...     net, reference, samples(200, seed=2), by=("pot", "random"), prune=(), tune=(3,), step=0.1, progress=False)
    >>> print(results.table((3,)))
    repair  by      k  wrong class  true class  corrected    95 % band  collateral  n(k)
    tune    pot     3      -42.6 %     +33.4 %     39.1 %  23.9 … 54.3                21
    tune    random  3      -13.1 %     +10.6 %     10.9 %   2.2 … 19.6                21
    >>> [round(value, 2) for value in results.difference("pot", "random", k=3)]
    [0.28, 0.17, 0.41]
    """
    plan = _Plan.of(model, reference, by, scores or {}, prune, tune, step, equal_norm, collateral_k, seed)
    if n_boot < 1:
        raise ValueError(f"n_boot must be at least 1, got {n_boot}")
    mistakes = Batches(*samples, batch_size)
    held = None if held_out is None else HeldOut(model, Batches(*held_out, batch_size), wrong)
    sweep = Sweep(model, plan.ks, step, wrong, batch_size, held, plan.collateral_k)
    sweeps: list[Outcome] = []
    first = 0  # the bar's own count stands still where it is not shown
    with tqdm(total=mistakes.n_samples, unit="sample", desc="evaluate", disable=None if progress else True) as bar:
        for x, y in mistakes:
            missed = np.flatnonzero(mistaken(model, x, y, wrong)).tolist()
            if missed:
                tops, n_above = plan.tops(x, y, np.asarray(model.profile(x, y)), first)
                for i in missed:
                    one = slice(i, i + 1)
                    sweeps.append(sweep.of(take(x, one), take(y, one), tops[:, i], int(n_above[i])))
            first += size_of(y)
            bar.update(size_of(y))
    if not sweeps:
        raise ValueError(f"some samples must be mistakes, got {mistakes.n_samples} that are all classified right")
    curves = {
        repair: RepairCurves(np.array(ks), *(np.stack([s.values[repair][m] for s in sweeps], axis=1) for m in METRICS))
        for repair, ks in plan.ks.items()
    }
    n_above, wrong_before, true_before = (
        np.array([getattr(s, a) for s in sweeps]) for a in ("n_above", "wrong", "true")
    )
    return RepairResults(
        plan.names, curves, n_above, wrong_before, true_before, mistakes.n_samples - len(sweeps),
        0 if held is None else held.n, n_boot, seed, {"step": step},
    )  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """What to do with every sample."""

    reference: Reference
    by: tuple[str, ...]
    scores: Mapping[str, Callable[[Any, Any], ArrayLike]]
    ks: dict[str, tuple[int, ...]]
    step: float
    collateral_k: frozenset[int]
    seed: int

    @classmethod
    def of(
        cls,
        model: SaliencyModel,
        reference: Reference,
        by: Sequence[str],
        scores: Mapping[str, Callable[[Any, Any], ArrayLike]],
        prune: Sequence[int] | None,
        tune: Sequence[int] | None,
        step: float,
        equal_norm: bool,
        collateral_k: Sequence[int],
        seed: int,
    ) -> _Plan:
        n_units = len(model.units)
        if reference.units != model.units or reference.reduction != model.reduction:
            raise ValueError(
                f"reference must be for this network's {model.units!r} by {model.reduction}, "
                f"got {reference.units!r} by {reference.reduction}"
            )
        names = (by,) if isinstance(by, str) else tuple(by)
        if not (names or scores) or len(set(names)) < len(names) or not set(names) <= set(SCORES):
            raise ValueError(f"by must be some of {', '.join(map(repr, SCORES))}, each once, got {names}")
        if taken := sorted(set(scores) & set(SCORES)):
            raise ValueError(f"scores must have other names than the rankings, got {taken}")
        if not 0.0 < step < float("inf"):
            raise ValueError(f"step must be finite and above 0, got {step}")
        grids = {"prune": _grid("prune", prune, _PRUNE, n_units), "tune": _grid("tune", tune, _TUNE, n_units)}
        if equal_norm:
            grids["tune_equal"] = grids["tune"]
        ks = {repair: grid for repair, grid in grids.items() if grid}
        if not ks:
            raise ValueError("give at least one number of units to prune or tune, got neither")
        return cls(reference, names, scores, ks, step, frozenset(int(k) for k in collateral_k), seed)

    @property
    def names(self) -> tuple[str, ...]:
        """All rankings."""
        return (*self.by, *self.scores)

    def tops(self, x: Any, y: Any, profiles: NDArray[Any], first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first units of every sample (rankings, samples, k), and how many are above their threshold."""
        longest = max(max(grid) for grid in self.ks.values())
        tops = np.empty((len(self.names), len(profiles), longest), dtype=np.int64)
        above: Any = None
        for r, name in enumerate(self.by):
            if name == "random":  # each sample's own generator: the same units whatever the batch size
                for i in range(len(profiles)):
                    order = np.random.default_rng([self.seed, first + i]).permutation(profiles.shape[1])
                    tops[r, i] = order[:longest]
            else:
                ranking = self.reference.rank(profiles, name, combine="each")
                tops[r], above = ranking.top(longest), ranking.n_above
        for r, (name, score) in enumerate(self.scores.items(), start=len(self.by)):
            values = np.asarray(score(x, y))
            if values.shape != profiles.shape or np.any(np.isnan(values)):
                raise ValueError(f"scores {name!r} must have shape {profiles.shape} without NaN, got {values.shape}")
            tops[r] = np.argsort(-values, axis=1, kind="stable")[:, :longest]
        if above is None:
            above = self.reference.rank(profiles, "gradient", combine="each").n_above
        return tops, above


def _grid(name: str, given: Sequence[int] | None, default: tuple[int, ...], n_units: int) -> tuple[int, ...]:
    """Numbers of units, ascending; the default as far as there are units."""
    if given is None:
        return tuple(k for k in default if k <= n_units)
    grid = tuple(int(k) for k in given)
    if any(not 1 <= k <= n_units for k in grid) or sorted(set(grid)) != list(grid):
        raise ValueError(f"{name} must be ascending numbers of units from 1 to {n_units}, got {grid}")
    return grid
