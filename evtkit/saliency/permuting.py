"""Permuting: do some mistakes stand out from the few that calibration met, by exchange of the two?"""

from __future__ import annotations

from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float

__all__ = ["set_p_value"]

_DRAWS = 199  # exchanges, if there are more
_CHUNK = 1 << 14  # columns at a time


def set_p_value(usual: NDArray[Any], new: NDArray[Any]) -> tuple[float, float]:
    """p-value of "the new samples are like the usual ones", of all columns at once, and the least it can be.

    The largest t statistic of all columns is compared with those after exchanges of usual and new samples (Westfall &
    Young 1993): all of them, or 199 drawn at random. It holds for any number of samples, whatever depends on what.

    Parameters
    ----------
    usual, new : ndarray, shape (m, columns) and (n, columns)
        Columns with NaN are left out.

    Returns
    -------
    p, least : float
        1 if there is no usual sample.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> set_p_value(rng.normal(size=(2, 5)), rng.normal(9.0, size=(4, 5)))
    (0.06666666666666667, 0.06666666666666667)
    """
    m, n = len(usual), len(new)
    if not m or not n:
        return 1.0, 1.0
    pooled = np.concatenate([usual, new])
    order = np.argsort(np.nan_to_num(np.abs(pooled)).mean(axis=1), kind="stable")  # whatever order they came in
    chosen = _exchanges(m, n, np.flatnonzero(order >= m))
    largest = np.zeros(len(chosen))
    for start in range(0, pooled.shape[1], _CHUNK):
        part = pooled[order, start : start + _CHUNK].astype(np.float64)
        part = part[:, np.isfinite(part).all(axis=0)]
        part -= part.mean(axis=0)
        if part.shape[1]:
            np.maximum(largest, _statistics(part, chosen, n).max(axis=1), out=largest)
    beyond = np.count_nonzero(largest >= largest[0] * (1.0 - 1e-9))
    return float(beyond) / len(chosen), 1.0 / len(chosen)


def _exchanges(m: int, n: int, own: NDArray[np.intp]) -> Float:
    """Which of m + n samples count as new, one row for each exchange; first as it is."""
    if comb(m + n, n) <= _DRAWS + 1:
        rows = [list(some) for some in islice(combinations(range(m + n), n), _DRAWS + 1)]
        rows = [own.tolist(), *(row for row in rows if row != own.tolist())]
    else:
        rng = np.random.default_rng(0)
        rows = [own.tolist(), *(rng.permutation(m + n)[:n].tolist() for _ in range(_DRAWS))]
    out = np.zeros((len(rows), m + n))
    np.put_along_axis(out, np.array(rows), 1.0, axis=1)
    return out


def _statistics(centred: Float, chosen: Float, n: int) -> Float:
    """Share of each column's sum of squares that lies between the two groups, which grows with t²; (rows, columns)."""
    m = len(centred) - n
    total = np.square(centred).sum(axis=0)
    between = np.square(chosen @ centred) * (1.0 / n + 1.0 / m)
    return np.divide(between, total, out=np.zeros_like(between), where=total > 0.0)
