"""Hypothesis strategies for samples of excesses: every kind of sample on which a GPD fit has been seen to go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from evtkit import gpd

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy
    from numpy.typing import NDArray

    from evtkit._common.types import Float

    Samples = SearchStrategy[NDArray[np.float64]]

__all__ = [
    "bounded_tails",
    "heavy_tails",
    "mixed_scales",
    "near_boundary",
    "near_exponential",
    "ragged",
    "rescaled",
    "rounded",
    "samples",
    "tied",
    "two_points",
]

_LARGEST = 40


@st.composite
def _from_gpd(draw: DrawFn, lowest: float, highest: float, max_size: int) -> Float:
    """Quantiles of a GPD of σ = 1 at drawn probabilities, so that samples shrink towards few and simple ones."""
    xi = draw(st.floats(lowest, highest))
    probabilities = draw(st.lists(st.floats(1e-6, 1.0 - 1e-6), min_size=2, max_size=max_size))
    return gpd.isf(probabilities, xi, 1.0)


def heavy_tails(max_size: int = _LARGEST) -> Samples:
    """Excesses of tails with ξ from 0.2 to 3."""
    return _from_gpd(0.2, 3.0, max_size)


def bounded_tails(max_size: int = _LARGEST) -> Samples:
    """Excesses of tails with ξ from −1.5 to −0.2, which have an endpoint."""
    return _from_gpd(-1.5, -0.2, max_size)


def near_exponential(max_size: int = _LARGEST) -> Samples:
    """Excesses of tails with ``|ξ| ≤ 0.01``, where formulas in 1/ξ cancel."""
    return _from_gpd(-0.01, 0.01, max_size)


def near_boundary(max_size: int = _LARGEST) -> Samples:
    """Excesses of nearly uniform tails, ξ from −1.1 to −0.9, for which the likelihood is often largest at ξ = −1."""
    return _from_gpd(-1.1, -0.9, max_size)


def tied(max_size: int = _LARGEST) -> Samples:
    """Excesses that are small whole numbers, hence mostly ties, sometimes all equal."""
    return st.lists(st.integers(1, 5), min_size=2, max_size=max_size).map(lambda y: np.array(y, dtype=np.float64))


@st.composite
def rounded(draw: DrawFn, max_size: int = _LARGEST) -> Float:
    """Excesses of any tail, recorded to one or two digits and at least one unit of the last."""
    unit = draw(st.sampled_from([0.01, 0.1, 0.5]))
    sample = draw(_from_gpd(-1.5, 3.0, max_size))
    return np.asarray(unit * np.maximum(np.rint(np.minimum(sample, 1e9) / unit), 1.0))


@st.composite
def two_points(draw: DrawFn) -> Float:
    """Two excesses, up to twelve orders of magnitude apart."""
    first = draw(st.floats(0.5, 1.0))
    return np.array([first, first * 10.0 ** draw(st.floats(-12.0, 12.0))])


@st.composite
def mixed_scales(draw: DrawFn, max_size: int = _LARGEST) -> Float:
    """Two samples whose scales differ by up to eight orders of magnitude: the likelihood may have several maxima."""
    first = draw(_from_gpd(-1.5, 3.0, max_size // 2))
    second = draw(_from_gpd(-1.5, 3.0, max_size // 2))
    return np.concatenate([first, second * 10.0 ** draw(st.floats(-8.0, 8.0))])


@st.composite
def rescaled(draw: DrawFn, sample: Samples) -> Float:
    """Samples in tiny and huge units, from 1e−280 to 1e280."""
    values = draw(sample)
    return np.asarray(values * 10.0 ** draw(st.one_of(st.integers(-6, 6), st.integers(-260, 260))))


def samples(max_size: int = _LARGEST) -> Samples:
    """Samples of every kind above, of 2 to `max_size` excesses, half of them rescaled."""
    kinds = st.one_of(
        heavy_tails(max_size),
        bounded_tails(max_size),
        near_exponential(max_size),
        near_boundary(max_size),
        tied(max_size),
        rounded(max_size),
        two_points(),
        mixed_scales(max_size),
    )
    return st.one_of(kinds, rescaled(kinds))


@st.composite
def ragged(draw: DrawFn, sample: Samples | None = None) -> Float:
    """A matrix of two to four channels, (n, channels), padded with NaN in drawn rows."""
    columns = draw(st.lists(samples(20) if sample is None else sample, min_size=2, max_size=4))
    height = max(len(column) for column in columns) + draw(st.integers(0, 3))
    matrix = np.full((height, len(columns)), np.nan)
    for j, column in enumerate(columns):
        rows = draw(st.permutations(range(height)))[: len(column)]
        matrix[np.sort(rows), j] = column
    return matrix
