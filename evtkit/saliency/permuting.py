"""Permuting: do some mistakes stand out from the few that calibration met, by exchange of the two?"""

from __future__ import annotations

from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["set_p_value"]

_DRAWS = 199  # exchanges, if there are more
_CHUNK = 1 << 14  # columns at a time
_SAME = 1e-5  # of two statistics, for rounding


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
        sizes = np.linalg.norm(part, axis=0)
        part = (part[:, sizes > 0.0] / sizes[sizes > 0.0]).astype(np.float32)
        if part.shape[1]:
            sums = chosen @ part  # of the new ones, in units of the column's spread: t grows with its size
            np.maximum(largest, np.maximum(sums.max(axis=1), -sums.min(axis=1)), out=largest)
    beyond = np.count_nonzero(largest >= largest[0] - _SAME)
    return float(beyond) / len(chosen), 1.0 / len(chosen)


def _exchanges(m: int, n: int, own: NDArray[np.intp]) -> NDArray[np.float32]:
    """Which of m + n samples count as new, one row for each exchange; first as it is."""
    if comb(m + n, n) <= _DRAWS + 1:
        rows = [list(some) for some in islice(combinations(range(m + n), n), _DRAWS + 1)]
        rows = [own.tolist(), *(row for row in rows if row != own.tolist())]
    else:
        rng = np.random.default_rng(0)
        rows = [own.tolist(), *(rng.permutation(m + n)[:n].tolist() for _ in range(_DRAWS))]
    out = np.zeros((len(rows), m + n), dtype=np.float32)
    np.put_along_axis(out, np.array(rows), 1.0, axis=1)
    return out
