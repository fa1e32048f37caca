"""Reductions: how a unit's gradient becomes one number, here for an ordinary gradient, given parameter by parameter.

Verification, the slow exact profile and `input_saliency` all come here. What a captured input and output gradient
reduce to without a whole gradient in between is each framework's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from evtkit.saliency.adapting.arrays import NUMPY, Arrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evtkit.saliency.adapting.plan import Plan

__all__ = ["REDUCTIONS", "Reduction", "finish", "reduce_gradient", "unit_totals"]

Reduction = Literal["mean-abs", "l2", "taylor"]

REDUCTIONS: tuple[str, ...] = get_args(Reduction)


def reduce_gradient(
    plan: Plan,
    reduction: Reduction,
    gradient: Mapping[str, Any],
    weights: Mapping[str, Any],
    dtype: np.dtype[Any] = np.dtype(np.float64),  # noqa: B008 (immutable)
    arrays: Arrays = NUMPY,
) -> Any:
    """One number a unit, shape (units,), of an ordinary gradient.

    Parameters
    ----------
    plan : Plan
        The units.
    reduction : {"mean-abs", "l2", "taylor"}
        Mean absolute value, Euclidean length, or sum of weights times gradients.
    gradient, weights : mapping of str to array
        By parameter, for all that hold units.
    dtype : dtype
        To add up in, float32 or float64.
    arrays : Arrays
        Of the framework whose arrays they are.

    Examples
    --------
    >>> from evtkit.saliency.adapting import Candidate, Lanes, Weight, make_plan
    >>> rows = Candidate("fc", "rows", None, [Lanes("w", np.arange(2))])
    >>> plan = make_plan([rows], [Weight("w", 4, "")], "rows", ["rows"], stage=str, owner="Net")
    >>> reduce_gradient(plan, "taylor", {"w": np.array([[1.0, -3.0], [0.0, 2.0]])}, {"w": np.ones((2, 2))})
    array([-2.,  2.])
    """
    total = unit_totals(plan, reduction, gradient, weights, dtype, arrays)
    return finish(total, reduction, arrays.like(plan.units.size, total))


def unit_totals(
    plan: Plan,
    reduction: Reduction,
    gradient: Mapping[str, Any],
    weights: Mapping[str, Any],
    dtype: np.dtype[Any] = np.dtype(np.float64),  # noqa: B008 (immutable)
    arrays: Arrays = NUMPY,
    *,
    sizes: bool = False,
) -> Any:
    """Every unit's sum of absolute values, of squares or of products, before `finish`; shape (units,).

    Parameters are left out for which there is no gradient. With ``sizes`` the absolute values of the products are
    added: what the sum is to be judged against.
    """
    total: Any = 0.0
    for lanes in plan.lanes:
        if lanes.parameter not in gradient:
            continue
        rows = lanes.matrix(arrays.cast(gradient[lanes.parameter], dtype), arrays)
        if reduction == "taylor":
            rows = rows * lanes.matrix(arrays.cast(weights[lanes.parameter], dtype), arrays)
            rows = abs(rows) if sizes else rows
        else:
            rows = abs(rows) if reduction == "mean-abs" else rows * rows
        total = total + arrays.sums(rows, lanes.units, len(plan.units))
    return total


def finish(total: Any, reduction: Reduction, sizes: Any) -> Any:
    """From a unit's sum of absolute values, of squares or of products to its number.

    Parameters
    ----------
    total : array, shape (..., units)
        The sums.
    reduction : {"mean-abs", "l2", "taylor"}
        Of what.
    sizes : array, shape (units,)
        Number of weights in each unit.
    """
    if reduction == "l2":
        return total**0.5
    return total / sizes if reduction == "mean-abs" else total
