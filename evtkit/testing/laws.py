"""The laws that an estimator of the GPD must obey, one function each, and an independent search for the maximum.

A law takes an `Estimator` and a sample and raises `Broken` where the sample breaks it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evtkit import gpd
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["LAWS", "Broken", "Estimator", "brute_force_loglik", "loglik"]


class Broken(Exception):  # noqa: N818 - it becomes a line of a report
    """A sample breaks a law."""

    def __init__(self, message: str, sample: Float) -> None:
        super().__init__(message)
        self.sample = sample


class Answer(NamedTuple):
    """What an estimator said of one channel."""

    xi: float
    sigma: float
    fitted: bool  # False where it raised, or gave a status other than OK and BOUNDARY
    error: str = ""  # what it raised, if not a ValueError, which says that there is no fit


class Estimator:
    """Any callable excesses → (ξ, σ) or an object with xi, sigma and perhaps status, brought to one form."""

    def __init__(self, fit: Callable[..., Any], tolerance: float) -> None:
        self.fit = fit
        self.tolerance = tolerance
        try:
            self.has_threads = "n_threads" in inspect.signature(fit).parameters
        except (TypeError, ValueError):
            self.has_threads = False
        plain = gpd.isf(np.linspace(0.05, 0.95, 20), 0.1, 1.0)
        self.has_status = self._call(plain.copy())[2] is not None
        try:
            self.has_channels = np.shape(self._call(plain[:, None] * np.array([1.0, 2.0]))[0]) == (2,)
        except Exception:  # whatever it says to a matrix, it does not take one
            self.has_channels = False

    def _call(self, excesses: Float, **options: Any) -> tuple[Any, Any, Any]:
        result = self.fit(excesses, **options)
        if hasattr(result, "xi"):
            return result.xi, result.sigma, getattr(result, "status", None)
        xi, sigma = result
        return xi, sigma, None

    def __call__(self, excesses: Float, **options: Any) -> Answer:
        """The answer for one channel, which is given a copy."""
        return self.columns(excesses.copy(), **options)[0]

    def columns(self, excesses: Float, **options: Any) -> list[Answer]:
        """The answers for every channel."""
        try:
            xi, sigma, status = self._call(excesses, **options)
        except Exception as error:  # an estimator under test may raise anything
            message = "" if isinstance(error, ValueError) else f"raises {type(error).__name__}: {error}"
            return [Answer(np.nan, np.nan, False, message)] * (excesses.shape[1] if excesses.ndim == 2 else 1)
        codes = np.full(np.shape(xi), FitStatus.OK) if status is None else status
        return [
            Answer(float(a), float(b), bool(c <= FitStatus.BOUNDARY))
            for a, b, c in zip(np.ravel(xi), np.ravel(sigma), np.ravel(codes), strict=True)
        ]

    def same(self, a: Answer, b: Answer, factor: float = 1.0) -> bool:
        """Whether b is a with its σ multiplied by factor, to the tolerance; NaN equals NaN."""
        if a.fitted != b.fitted:
            return False
        pairs = ((a.xi, b.xi, 1.0 + abs(a.xi)), (1.0, b.sigma / factor / a.sigma, 1.0))
        return all(
            (np.isnan(x) and np.isnan(y)) or x == y or abs(x - y) <= self.tolerance * unit for x, y, unit in pairs
        )


def loglik(excesses: ArrayLike, xi: float, sigma: float) -> float:
    """Log-likelihood of a sample; −inf where a value lies outside the support, or ξ, σ are no parameters of a GPD.

    See Also
    --------
    brute_force_loglik : the largest that there is.

    Examples
    --------
    >>> from evtkit.testing import loglik
    >>> round(loglik([1.0, 2.0], 0.0, 1.0), 6), loglik([1.0, 2.0], -1.0, 1.5)
    (-3.0, -inf)
    """
    if not (np.isfinite(xi) and 0.0 < sigma < np.inf):
        return -np.inf
    return float(np.sum(gpd.logpdf(excesses, xi, sigma)))


def brute_force_loglik(excesses: ArrayLike) -> float:
    """Largest log-likelihood over ξ ≥ −1 that a search on grids finds: plain, and independent of `evtkit.fit_gpd`.

    The profile likelihood in t = ξ/σ (Grimshaw 1993) is evaluated on geometric grids on both sides of t = 0, from
    1 + t·y_max = 1e−14 to where no maximum can be, and again between the neighbours of its three highest local maxima.

    Parameters
    ----------
    excesses : array_like, (n,)
        At least two positive excesses.

    Returns
    -------
    float
        Never above the true maximum, but for rounding.

    See Also
    --------
    loglik : at parameters that are given.

    Examples
    --------
    >>> from evtkit import fit_gpd, gpd
    >>> from evtkit.testing import brute_force_loglik
    >>> excesses = gpd.rvs(0.3, 1.0, size=50, rng=0)
    >>> bool(abs(brute_force_loglik(excesses) - fit_gpd(excesses).loglik) < 1e-6)
    True
    """
    y = np.asarray(excesses, dtype=np.float64)
    largest = y.max()
    mean = largest * np.mean(y / largest)
    z = y / mean
    z_max, z_min = z.max(), max(z.min(), 1e-150)
    end = max(min(2.0 * (1.0 - z_min) / z_min**2, 1e18), 2.0)
    left = (np.geomspace(1e-14, 0.99, 120) - 1.0) / z_max
    right = np.geomspace(0.01 / z_max, end, 120)
    near = np.geomspace(1e-9, 0.009, 10) / z_max
    t = np.concatenate([left, -near[::-1], [0.0], near, right])
    value = _profile(z, t)
    best = max(-np.log(z_max), value.max())
    inner = np.flatnonzero((value[1:-1] >= value[:-2]) & (value[1:-1] >= value[2:])) + 1
    for i in inner[np.argsort(value[inner], kind="stable")[-3:]]:
        low, high = t[i - 1], t[i + 1]
        for _ in range(4):
            grid = np.linspace(low, high, 25)
            fine = _profile(z, grid)
            k = int(np.argmax(fine))
            best = max(best, fine[k])
            low, high = grid[max(k - 1, 0)], grid[min(k + 1, 24)]
    return float(y.size * (best - np.log(mean)))


def _profile(z: Float, t: Float) -> Float:
    """Profile log-likelihood an observation of excesses of mean 1; −inf where ξ < −1."""
    x = t[:, None] * z
    xi = np.mean(np.log1p(x), axis=1)
    small = np.abs(t) * z.max() < 1e-4
    second, third, fourth = np.mean(square := z * z), np.mean(square * z), np.mean(square * square)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.where(small, 1.0 - t * (second / 2 - t * (third / 3 - t * fourth / 4)), xi / t)
        return np.where(xi >= -1.0, -np.log(sigma) - xi - 1.0, -np.inf)


def finite_or_status(estimator: Estimator, sample: Float) -> None:
    """ξ and σ are finite, unless a status (or a ValueError) says that there is no fit."""
    answer = estimator(sample)
    if answer.error:
        raise Broken(answer.error, sample)
    if answer.fitted and not (np.isfinite(answer.xi) and np.isfinite(answer.sigma)):
        raise Broken(f"xi = {answer.xi}, sigma = {answer.sigma}, and no status", sample)


def positive_scale(estimator: Estimator, sample: Float) -> None:
    """σ > 0."""
    answer = estimator(sample)
    if answer.fitted and not answer.sigma > 0.0:
        raise Broken(f"sigma = {answer.sigma}", sample)


def same_twice(estimator: Estimator, sample: Float) -> None:
    """The same sample gives the same answer, and is left as it was."""
    copy = sample.copy()
    first = estimator.columns(copy)
    if not np.array_equal(copy, sample):
        raise Broken("changes its input", sample)
    if not _identical(first, estimator.columns(copy)):
        raise Broken("differs from one call to the next", sample)


def scale_equivariance(estimator: Estimator, sample: Float) -> None:
    """Excesses in other units: the same ξ, and σ in those units. Factors are powers of two, which round nothing."""
    answer = estimator(sample)
    _, exponent = np.frexp([sample.min(), sample.max()])
    for power in (-120, -20, 17, 120):
        if exponent[0] + power < -960 or exponent[1] + power > 960:
            continue
        other = estimator(np.ldexp(sample, power))
        if not estimator.same(answer, other, 2.0**power):
            raise Broken(f"{_say(answer)}, but times 2^{power} {_say(other)}", sample)


def permutation_invariance(estimator: Estimator, sample: Float) -> None:
    """The order of the excesses does not matter."""
    answer = estimator(sample)
    for other in (np.sort(sample), sample[::-1], np.random.default_rng(0).permutation(sample)):
        if not estimator.same(answer, estimator(np.ascontiguousarray(other))):
            raise Broken(f"{_say(answer)}, but in another order {_say(estimator(other))}", sample)


def support_contains_data(estimator: Estimator, sample: Float) -> None:
    """A fit does not call an observed excess impossible: y_max ≤ −σ/ξ where ξ < 0."""
    answer = estimator(sample)
    if answer.fitted and answer.sigma > 0.0 and answer.xi < 0.0:
        # to the rounding of ξ and σ themselves
        beyond = -answer.xi * (sample.max() / answer.sigma) - 1.0
        if beyond > 1e-12:
            raise Broken(f"{_say(answer)}: the endpoint is below the largest excess by {beyond:.2g} of it", sample)


def maximum_likelihood(estimator: Estimator, sample: Float) -> None:
    """The likelihood is not below that of a brute-force search, by more than 1e−8 an observation."""
    answer = estimator(sample)
    if not answer.fitted or sample.min() == sample.max():
        return
    reached, reference = loglik(sample, answer.xi, answer.sigma), brute_force_loglik(sample)
    if answer.xi < -1.0 - 1e-12:
        raise Broken(f"{_say(answer)}: for xi < -1 the likelihood is unbounded and has no maximum", sample)
    if not reached >= reference - 1e-8 * sample.size:
        raise Broken(f"{_say(answer)} has log-likelihood {reached}; {reference} can be reached", sample)


def padding_is_absence(estimator: Estimator, matrix: Float) -> None:
    """NaN in a channel is as if it were not there."""
    for column, answer in zip(matrix.T, estimator.columns(matrix), strict=True):
        alone = estimator(column[~np.isnan(column)])
        if not estimator.same(alone, answer):
            raise Broken(f"{_say(alone)} without padding, but {_say(answer)} in the padded matrix", matrix)


def channels_are_independent(estimator: Estimator, matrix: Float) -> None:
    """A channel's fit does not depend on its neighbours."""
    together = estimator.columns(matrix)
    for j, answer in enumerate(estimator.columns(np.ascontiguousarray(matrix[:, ::-1]))[::-1]):
        single = estimator.columns(np.ascontiguousarray(matrix[:, j : j + 1]))[0]
        if not (estimator.same(together[j], answer) and estimator.same(together[j], single)):
            raise Broken(f"channel {j}: {_say(together[j])} together, {_say(single)} alone", matrix)


def threads_do_not_matter(estimator: Estimator, matrix: Float) -> None:
    """One thread and three give the same, bit for bit."""
    many = np.tile(matrix, (1, 5))
    if not _identical(estimator.columns(many, n_threads=1), estimator.columns(many, n_threads=3)):
        raise Broken("one thread and three give different fits", matrix)


def _identical(a: list[Answer], b: list[Answer]) -> bool:
    """Whether answers are the same, bit for bit."""
    first, second = ([(x.xi, x.sigma, x.fitted) for x in answers] for answers in (a, b))
    return np.array_equal(first, second, equal_nan=True)


def _say(answer: Answer) -> str:
    return f"(xi = {answer.xi:.10g}, sigma = {answer.sigma:.10g}{'' if answer.fitted else ', no fit'})"


LAWS: tuple[Callable[[Estimator, Float], None], ...] = (
    finite_or_status,
    positive_scale,
    same_twice,
    scale_equivariance,
    permutation_invariance,
    support_contains_data,
    maximum_likelihood,
    padding_is_absence,
    channels_are_independent,
    threads_do_not_matter,
)
