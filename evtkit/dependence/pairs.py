r"""Do two series have their extremes together? χ and χ̄ of pairs (Coles, Heffernan & Tawn 1999).

With U and V the ranks of two variables on (0, 1) and a level u near 1,

.. math::

    χ(u) = 2 - \frac{\log P(U < u, V < u)}{\log u}, \qquad
    \bar{χ}(u) = \frac{2 \log(1 - u)}{\log P(U > u, V > u)} - 1 .

χ is the chance, in the limit, that one is extreme where the other is: 0 for asymptotic independence, 1 for complete
dependence. χ̄ says how strong the dependence is where χ is 0: 1 for asymptotic dependence, else below, and the
correlation for a pair of normal variables. A pair is asymptotically dependent where χ̄ tends to 1; χ then says how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from evtkit._common.checks import real_array
from evtkit._common.results import Result

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = ["TailDependence", "tail_dependence"]


@dataclass(frozen=True, eq=False)
class TailDependence(Result):
    """χ and χ̄ of a pair of series at several levels; made by `tail_dependence`.

    Attributes
    ----------
    quantile : ndarray of float64, (levels,)
        u.
    chi, chi_lower, chi_upper : ndarray of float64, (levels,)
        χ(u) and its limits, inside its range of 2 − log max(2u − 1, 0)/log u to 1.
    chi_bar, chi_bar_lower, chi_bar_upper : ndarray of float64, (levels,)
        χ̄(u) and its limits, inside [−1, 1]. −1 where the two never exceed u together.
    n : int
        Pairs.
    n_both : ndarray of int64, (levels,)
        Pairs that exceed u together.
    level : float
        Confidence level, pointwise.

    See Also
    --------
    tail_dependence : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.dependence import tail_dependence
    >>> x, y = np.random.default_rng(0).multivariate_normal([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]], size=5000).T
    >>> tail_dependence(x, y, [0.9, 0.99])
    TailDependence(5000 pairs, 95 % limits)
      u=0.9: chi 0.53 (0.43 … 0.64), chi-bar 0.61 (0.54 … 0.67), 284 together
      u=0.99: chi 0.37 (0.02 … 0.73), chi-bar 0.65 (0.52 … 0.79), 19 together
    """

    quantile: Float
    chi: Float
    chi_lower: Float
    chi_upper: Float
    chi_bar: Float
    chi_bar_lower: Float
    chi_bar_upper: Float
    n: int
    n_both: Int
    level: float

    def __repr__(self) -> str:
        rows = [f"TailDependence({self.n} pairs, {100 * self.level:g} % limits)"]
        for i, u in enumerate(self.quantile):
            rows.append(
                f"  u={u:.4g}: chi {self.chi[i]:.2f} ({self.chi_lower[i]:.2f} … {self.chi_upper[i]:.2f}), chi-bar "
                f"{self.chi_bar[i]:.2f} ({self.chi_bar_lower[i]:.2f} … {self.chi_bar_upper[i]:.2f}), "
                f"{self.n_both[i]} together"
            )
        return "\n".join(rows)


def tail_dependence(
    x: ArrayLike, y: ArrayLike, quantile: ArrayLike = (0.8, 0.9, 0.95, 0.98), *, level: float = 0.95
) -> TailDependence:
    """χ and χ̄ of two series, from ranks, with limits by the delta method for independent pairs.

    Parameters
    ----------
    x, y : array_like, (n,)
        Values that belong together. Pairs with a NaN are left out. Equal values have the mean of their ranks.
    quantile : array_like
        Levels u in (0, 1).
    level : float
        Confidence level in (0, 1). Limits are those of Coles, Heffernan & Tawn (1999, section 4): the share of pairs is
        binomial, and its logarithm is taken to first order. They are too short for pairs that depend on earlier ones.

    Returns
    -------
    TailDependence

    Raises
    ------
    ValueError
        Where the series have different lengths, are infinite or no numbers, there are fewer than two pairs, or a
        quantile or the level is not in (0, 1).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x, noise = rng.standard_normal((2, 20_000))
    >>> tail_dependence(x, 0.7 * x + 0.71 * noise, [0.95])  # a normal pair: χ tends to 0, and χ̄ to 0.7
    TailDependence(20000 pairs, 95 % limits)
      u=0.95: chi 0.38 (0.30 … 0.46), chi-bar 0.54 (0.50 … 0.58), 406 together
    """
    first, second = (real_array(a, name).astype(np.float64) for a, name in ((x, "x"), (y, "y")))
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"x and y must be series of one length, got shapes {first.shape} and {second.shape}")
    if np.isinf(first).any() or np.isinf(second).any():
        raise ValueError("x and y must be finite, or NaN where they are missing, got inf")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    u = np.atleast_1d(real_array(quantile, "quantile")).astype(np.float64)
    if not np.all((u > 0.0) & (u < 1.0)):
        raise ValueError(f"quantile must lie in (0, 1), got {u[~((u > 0.0) & (u < 1.0))][0]}")
    present = ~np.isnan(first) & ~np.isnan(second)
    n = int(np.count_nonzero(present))
    if n < 2:
        raise ValueError(f"x and y must have at least two pairs without NaN, got {n}")
    from scipy.stats import rankdata  # deferred, for importing it takes as long as much else together

    ranks = np.stack([rankdata(first[present]), rankdata(second[present])]) / (n + 1.0)
    below = np.count_nonzero(ranks.max(axis=0) < u[:, None], axis=1) / n
    both = np.count_nonzero(ranks.min(axis=0) > u[:, None], axis=1)
    together = both / n
    z = float(ndtri(0.5 + 0.5 * level))
    with np.errstate(divide="ignore", invalid="ignore"):
        least = 2.0 - np.log(np.maximum(2.0 * u - 1.0, 0.0)) / np.log(u)
        chi = np.clip(2.0 - np.log(below) / np.log(u), least, 1.0)
        half = z * np.sqrt((1.0 - below) / (below * n)) / -np.log(u)
        bar = np.where(both == 0, -1.0, np.clip(2.0 * np.log1p(-u) / np.log(together) - 1.0, -1.0, 1.0))
        by_share = 2.0 * -np.log1p(-u) / (together * np.log(together) ** 2)
        half_bar = np.where(both == 0, math.inf, z * by_share * np.sqrt(together * (1.0 - together) / n))
    return TailDependence(
        u, chi, np.clip(chi - half, least, 1.0), np.clip(chi + half, least, 1.0),
        bar, np.clip(bar - half_bar, -1.0, 1.0), np.clip(bar + half_bar, -1.0, 1.0), n, both, level,
    )  # fmt: skip
