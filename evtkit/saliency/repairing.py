"""Repairing: units at fault, the last layer or all are changed, sized on samples in no loss, judged on others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import size_of
from evtkit.saliency.finding import suspects
from evtkit.saliency.searching import Search
from evtkit.saliency.tasks import as_pair, as_targets, mistaken_among
from evtkit.saliency.trials import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.repairs import Repair
    from evtkit.saliency.tasks import Wrong

__all__ = ["repair"]

_STEPS = 12
_OWN = {"learn": (0, 2), "choose": (1,), "report": (3,)}  # whose turn it is, of four mistakes
_KEPT = {"learn": (0,), "choose": (1, 3), "report": (2,)}  # of four samples to keep
_FEW, _ALL = 0.02, 5e-4  # length of the first step, relative to that of the weights that take it


def repair(
    model: SaliencyModel,
    reference: Reference,
    mistakes: tuple[Any, Any],
    keep: tuple[Any, Any],
    *,
    budget: float = 0.01,
    units: ArrayLike | None = None,
    candidates: Mapping[str, Sequence[int]] | None = None,
    steps: int = _STEPS,
    batch_size: int = 64,
    wrong: Wrong | None = None,
) -> Repair:
    """Find a small change of the weights that corrects some mistakes and their like, and costs next to nothing.

    Candidates are tried side by side: the first unit that `suspects` lists, in small gradient steps from where it is,
    and from its removal or with its sign turned if that lowers the loss; all that it names (the first five, if it names
    none), in steps; the last layer fitted anew; and fine-tuning of all units by Adam (Kingma & Ba 2015). Each step
    lowers the loss of the mistakes and of rehearsed samples together. If the end of one costs more than the budget,
    parts of the way to it are tried by halves: weights between those before and after fine-tuning keep more of what was
    right (Wortsman et al. 2022). Of all that was tried, the change that corrects most mistakes within the budget is
    taken, the cheaper one of two that correct as many; nothing further is tried once all are corrected for half of the
    budget.

    The budget holds for other samples like those to keep, in the mean over such sets. What few samples show is too
    low, as the change was chosen for it. So a change must be expected to lose no more of others: see
    ``evtkit.saliency.costs.expected_loss``. One set may still lose more, and the table says how much: of 150 samples
    that size a change none may be lost for a budget of 1 %, which leaves up to 2 %.

    The last layer is fitted with a brake: the mean square of what its change does to the scores of rehearsed samples.
    So it moves along what the mistakes differ in and right samples hardly do, as in Bau et al. (2020). Several fits and
    parts of the way to each are compared by their margins, which takes next to no time. If one is taken, it is fitted
    once more, to the mistakes that chose as well; those that report are in no fit. For classes, by the default loss, of
    models that tell of a last layer that is linear and puts out the scores; it need not have units.

    The mistakes are split by turns: two of four are in the loss, one chooses, one reports. The samples to keep
    likewise: one of four is rehearsed, two size the change, one reports. So no figure that is reported comes from
    samples that had a say.

    Parameters
    ----------
    model : SaliencyModel
        The network. Its weights are afterwards what they were, bit for bit; `Repair.apply` changes them.
    reference : Reference
        From `calibrate`, for `suspects`.
    mistakes : (x, y)
        Samples that the network gets wrong, with their true labels; those it gets right are left out. At least 4.
    keep : (x, y)
        Samples that it gets right and is to go on getting right; those it gets wrong are left out. At least 3 / budget
        of them, for those that size it must be able to show a loss of the budget's size.
    budget : float
        Share of samples like those to keep that may be lost, in the mean.
    units : array-like, optional
        The units at fault, as in `Units.resolve`, if they are known. By default found. Empty: only `candidates`.
    candidates : mapping of str to sequence of int, optional
        Sets of units that take gradient steps, by name, instead of the last layer and of all units.
    steps : int
        Gradient steps of each candidate, longer and longer as long as the loss falls.
    batch_size : int
        Samples predicted at a time.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evaluate`.

    Returns
    -------
    Repair

    Raises
    ------
    ValueError
        If samples are too few, or an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> x, y = samples(3000, noise=0.0)
    >>> net = Toy(reduction="taylor")
    >>> reference = calibrate(net, Batches(x[:1000], y[:1000]), progress=False)
    >>> net.rows[5][:] *= -4.0
    >>> wrong = net.predict(x).argmax(axis=1) != y
    >>> mended = repair(net, reference, (x[wrong][:40], y[wrong][:40]), (x[~wrong][:900], y[~wrong][:900]), units=[5])
    >>> mended.apply(net)
    >>> bool(np.mean(net.predict(x).argmax(axis=1) != y) < 0.5 * np.mean(wrong))
    True
    >>> mended.revert(net)
    """
    if not 0.0 < budget < 1.0:
        raise ValueError(f"budget must lie strictly between 0 and 1, got {budget}")
    if steps < 0 or steps != int(steps):
        raise ValueError(f"steps must be a whole number, at least 0, got {steps}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    bad = _chosen(model, mistakes, False, batch_size, "mistakes", wrong)
    right = _chosen(model, keep, True, batch_size, "keep", wrong)
    if size_of(bad[1]) < 4:
        raise ValueError(f"mistakes must be at least 4 that the network gets wrong, got {size_of(bad[1])}")
    if size_of(right[1]) < 3.0 / budget:
        raise ValueError(
            f"keep must have at least {int(np.ceil(3 / budget))} samples that the network gets right for a budget of "
            f"{budget:g}, got {size_of(right[1])}"
        )
    own = {name: _every(bad, 4, turns) for name, turns in _OWN.items()}
    kept = {name: _every(right, 4, turns) for name, turns in _KEPT.items()}
    found = suspects(model, reference, own["learn"], batch_size=batch_size, wrong=wrong) if units is None else None
    if found is None:
        fault = [int(u) for u in model.units.resolve(units)]  # type: ignore[arg-type]
    else:
        fault = [int(u) for u in (found.found if len(found.found) else found.order[:5])]
    one = fault[:1] if found is not None else fault
    starts = {"suspect, removed": 0.0, "suspect, turned": -1.0, "suspect": None} if one else {}
    plan = [(name, one, start, _FEW) for name, start in starts.items()]
    if len(fault) > len(one):
        plan.append(("all suspects", fault, None, _FEW))
    others = {"all units": list(range(len(model.units)))} if candidates is None else candidates
    plan += [(name, [int(u) for u in some], None, _ALL if len(some) > 25 else _FEW) for name, some in others.items()]
    search = Search(model, own, kept, budget, batch_size, wrong)
    for name, some, start, first in plan:
        tuned = name == "all units" and candidates is None
        if tuned and not search.perfect:
            search.refit()
        if not search.perfect:
            search.follow(name, some, start, first, steps, tuned)
    return search.best(found)


def _chosen(
    model: SaliencyModel, samples: tuple[Any, Any], right: bool, batch_size: int, name: str, how: Wrong | None
) -> tuple[Any, Any]:
    """Those of the samples that the network gets right, or wrong."""
    x, y = as_pair(samples, name)
    targets = as_targets(model, x, y, name)
    rows = np.flatnonzero(mistaken_among(model, x, targets, how, batch_size) != right)
    return rows_of(x, rows), rows_of(targets, rows)


def _every(samples: tuple[Any, Any], period: int, turns: tuple[int, ...]) -> tuple[Any, Any]:
    """Those whose turn it is."""
    rows = np.flatnonzero(np.isin(np.arange(size_of(samples[1])) % period, turns))
    return rows_of(samples[0], rows), rows_of(samples[1], rows)
