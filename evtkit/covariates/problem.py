"""A likelihood whose parameters are linear in covariates, for many channels that share a design, and its maximum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.threads import for_each, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit._common.types import Bool, Float

__all__ = ["PRIORS", "Problem", "Solution", "maximize"]

PRIORS = {"coles-dixon": 1, "martins-stedinger": 2}
"""Priors on the shape, by the numbers that the kernels know them by."""

_WORK = 32  # of an observation in a climb, as much as of so many values elsewhere


@dataclass(frozen=True)
class Problem:
    """A family, responses, and a design for each of its three parameters.

    Attributes
    ----------
    family : {"gpd", "gev"}
        Its parameters are μ (a GPD has none), η = log σ and ξ.
    y : ndarray of float64, shape (channels, n)
        Responses, less their origin and divided by their unit.
    designs : three ndarrays of float64, shape (n, columns)
        Orthonormal columns each; for a GPD the first has none.
    weights : ndarray of float64, shape (n,)
        How often each observation counts.
    offsets : ndarray of float64, shape (n, 3)
        Added to the linear predictors, in the units of the data.
    origin, unit : ndarray of float64, shape (channels,)
        Of the responses.
    prior : int
        On the shape; see `PRIORS`, 0 for none. Its weighted mean over the observations is added to the log-likelihood.
    ridge : ndarray of float64, shape (coefficients, coefficients), or None
        A positive semi-definite matrix P: ½ θᵀPθ is taken off.
    """

    family: str
    y: Float
    designs: Sequence[Float]
    weights: Float
    offsets: Float
    origin: Float
    unit: Float
    prior: int = 0
    ridge: Float | None = None

    @cached_property
    def blocks(self) -> list[slice]:
        """Where the coefficients of each parameter lie."""
        ends = np.cumsum([design.shape[1] for design in self.designs])
        return [slice(int(end - design.shape[1]), int(end)) for end, design in zip(ends, self.designs, strict=True)]

    @cached_property
    def _shared(self) -> tuple[Any, ...]:
        """What the channels share, as the kernels take it, and what they do not."""
        which = np.repeat(np.arange(3), [design.shape[1] for design in self.designs])
        places = np.column_stack([self.origin, self.unit, np.log(self.unit)])
        ridge = np.empty((0, 0)) if self.ridge is None else np.ascontiguousarray(self.ridge)
        columns = np.ascontiguousarray(np.column_stack(self.designs))
        return columns, which, self.weights, np.ascontiguousarray(self.offsets), places, self.prior, ridge

    def arguments(self, channels: slice = slice(None)) -> tuple[Any, ...]:
        """What the kernels take in front of coefficients."""
        design, which, weights, offsets, places, prior, ridge = self._shared
        y = self.y[channels]
        return self.family == "gev", y, design, which, weights, offsets, places[channels], prior, ridge

    def shapes(self, theta: Float) -> Float:
        """ξ of every observation, (n, channels), from coefficients (coefficients, channels)."""
        return np.asarray(self.offsets[:, 2:] + self.designs[2] @ theta[self.blocks[2]])

    def value(self, theta: Float) -> Float:
        """What is maximised, for coefficients (coefficients, channels); or (coefficients, draws) of a single channel.

        −inf where an observation lies outside the support, or ξ ≤ −1.
        """
        from evtkit._kernels.climb import values  # deferred: compiled

        out = np.empty(theta.shape[1])
        values(*self.arguments(), np.ascontiguousarray(theta.T), out)
        return out

    def derivatives(self, theta: Float) -> tuple[Float, Float]:
        """Gradient (channels, coefficients) and Hessian (channels, coefficients, coefficients) of `value`."""
        from evtkit._kernels.climb import derivatives  # deferred: compiled

        size, channels = theta.shape
        gradient, hessian = np.empty((channels, size)), np.empty((channels, size, size))
        derivatives(*self.arguments(), np.ascontiguousarray(theta.T), gradient, hessian)
        return gradient, hessian


@dataclass(frozen=True)
class Solution:
    """Where `maximize` ended; one entry a channel.

    Attributes
    ----------
    theta : ndarray of float64, shape (coefficients, channels)
        Coefficients of the orthonormal columns.
    value : ndarray of float64, shape (channels,)
        What was maximised.
    converged, boundary : ndarray of bool, shape (channels,)
        Whether it is a maximum: the gradient vanishes and the Hessian is negative definite; whether a shape is at −1.
    """

    theta: Float
    value: Float
    converged: Bool
    boundary: Bool


def maximize(problem: Problem, start: Float) -> Solution:
    """Climb from a start (coefficients, channels) inside the support."""
    from evtkit._kernels.climb import climb  # deferred: compiled

    channels = start.shape[1]
    theta = np.array(start.T, order="C")
    value, converged = np.empty(channels), np.empty(channels, dtype=bool)

    def some(piece: slice) -> None:
        climb(*problem.arguments(piece), theta[piece], value[piece], converged[piece])

    for_each(some, pieces(channels, _WORK * problem.y.shape[1], None), None)
    with np.errstate(invalid="ignore"):
        boundary = np.min(problem.shapes(theta.T), axis=0) < -1.0 + 1e-6
    return Solution(np.ascontiguousarray(theta.T), value, converged & ~boundary, boundary)
