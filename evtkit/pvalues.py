"""Many p-values, one: combined in logarithms, so that none underflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln, logsumexp, xlogy

from evtkit._common.checks import real_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["combine_p_values"]

METHODS = ("bonferroni", "geometric", "harmonic", "cauchy", "fisher")
"""Names of the methods; the first two give p-values however the tests depend on each other."""

_STEEP = 600.0  # −log p beyond which cot(πp) nears overflow


def combine_p_values(log_p: ArrayLike, method: str = "fisher", *, clip: bool = True) -> Float:
    """Combine p-values along axis 0, in logarithms, so that none underflows.

    Parameters
    ----------
    log_p : array_like, shape (n, ...)
        Logarithms of p-values; −inf stands for p = 0.
    method : str
        ============== ============================================ ==================================================
        ``bonferroni`` n · min p                                    a p-value whatever the dependence
        ``geometric``  e · (∏ p)^(1/n)                              likewise (Vovk & Wang 2020); for n = 1, p itself
        ``harmonic``   the harmonic mean, n / Σ 1/p                 close to a p-value below 0.05, also under dependence
                                                                    (Wilson 2019)
        ``cauchy``     P(C > mean cot πp) for a Cauchy variable C   right far in the tail under dependence (Liu & Xie
                                                                    2020)
        ``fisher``     P(χ²₂ₙ > −2 Σ log p)                         for independent p-values only (Fisher 1932)
        ============== ============================================ ==================================================
    clip : bool
        Bonferroni's rule and the geometric mean can come out above 1, which says as much as 1. Without clipping they
        are left there, so that what is not improbable at all keeps an order.

    Returns
    -------
    ndarray of float64, shape (...)
        Logarithms of the combined p-values.

    Raises
    ------
    ValueError
        If a value is NaN or above 0, there are none, or the method is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(combine_p_values(np.log([[0.01, 0.5], [0.02, 0.5], [0.5, 0.5]]))).round(4)
    array([0.0053, 0.6552])
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    values = real_array(log_p, "log_p").astype(np.float64)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(f"log_p must hold at least one p-value along axis 0, got shape {values.shape}")
    if not np.all(values <= 0.0):
        raise ValueError("log_p must hold logarithms of p-values in [0, 1], got NaN or one above 0")
    combined = _RULES[method](values)
    return np.asarray(np.minimum(combined, 0.0) if clip else combined)


def _bonferroni(values: Float) -> Float:
    return np.asarray(np.min(values, axis=0) + np.log(len(values)))


def _geometric(values: Float) -> Float:
    return np.asarray(np.mean(values, axis=0) + (len(values) > 1))


def _harmonic(values: Float) -> Float:
    return np.asarray(np.log(len(values)) - logsumexp(-values, axis=0))


def _cauchy(values: Float) -> Float:
    steep = np.min(values, axis=0) < -_STEEP  # there 1/(πp) is cot(πp) to every digit, and the mean p is harmonic
    gentle = np.where(steep, -1.0, values)
    mean = np.mean(1.0 / np.tan(np.pi * np.exp(gentle)), axis=0)
    return np.where(steep, _harmonic(values), np.log(np.arctan2(1.0, mean) / np.pi))


def _fisher(values: Float) -> Float:
    half = -values.sum(axis=0)  # half of χ²; for 2n degrees of freedom its law is a Poisson sum
    i = np.arange(len(values)).reshape(-1, *[1] * half.ndim)
    with np.errstate(invalid="ignore"):
        log_sf = logsumexp(xlogy(i, half) - gammaln(i + 1.0), axis=0) - half
    return np.where(np.isinf(half), -np.inf, log_sf)


_RULES = {"bonferroni": _bonferroni, "geometric": _geometric, "harmonic": _harmonic, "cauchy": _cauchy,
          "fisher": _fisher}  # fmt: skip
