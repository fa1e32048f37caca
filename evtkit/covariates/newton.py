"""The maximum of a likelihood whose parameters are linear in covariates, for many channels that share a design.

Newton's method in coordinates in which the columns of each design are orthonormal, so that neither the scale of a
covariate nor what it is added to makes a difference. Where the Hessian is not negative definite its eigenvalues are
taken by their size, which turns a saddle into an ascent (Dauphin et al. 2014). A step is halved until it stays inside
the support and gains what its slope promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from evtkit.covariates.likelihood import loglik, terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evtkit._common.types import Bool, Float

__all__ = ["Problem", "Solution", "maximize"]

_STEPS = 200
_HALVINGS = 60
_ENOUGH = 1e-4  # of the gain that a step's slope promises
_ROUNDING = 1e-14  # of a log-likelihood
_PRODUCTS = 100  # columns of two designs' products, up to which they are kept


@dataclass(frozen=True)
class Problem:
    """A family, responses, and a design for each of its three parameters.

    Attributes
    ----------
    family : {"gpd", "gev"}
        Its parameters are μ (a GPD has none), η = log σ and ξ.
    y : ndarray of float64, shape (n, channels)
        Responses.
    designs : three ndarrays of float64, shape (n, columns)
        Orthonormal columns each; for a GPD the first has none.
    weights : ndarray of float64, shape (n, 1)
        How often each observation counts.
    offsets : three ndarrays of float64, shape (n, 1) or (n, channels)
        Added to the linear predictors.
    prior : callable, optional
        From the shapes (n, channels) to the log of their prior, its slope and its curvature; its weighted mean over the
        observations is added to the log-likelihood.
    ridge : ndarray of float64, shape (coefficients, coefficients), or None
        A positive semi-definite matrix P: ½ θᵀPθ is taken off.
    """

    family: str
    y: Float
    designs: Sequence[Float]
    weights: Float
    offsets: Sequence[Float]
    prior: Callable[[Float], tuple[Float, Float, Float]] | None = None
    ridge: Float | None = None

    @cached_property
    def blocks(self) -> list[slice]:
        """Where the coefficients of each parameter lie."""
        ends = np.cumsum([design.shape[1] for design in self.designs])
        return [slice(int(end - design.shape[1]), int(end)) for end, design in zip(ends, self.designs, strict=True)]

    @cached_property
    def _products(self) -> dict[tuple[int, int], Float]:
        """Every column of one design times every one of another, (n, columns·columns), where that is not much."""
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        sizes = {(i, j): self.designs[i].shape[1] * self.designs[j].shape[1] for i, j in pairs}
        return {
            (i, j): (self.designs[i][:, :, None] * self.designs[j][:, None, :]).reshape(len(self.y), sizes[i, j])
            for i, j in pairs
            if sizes[i, j] <= _PRODUCTS
        }

    def _bend(self, i: int, j: int, curvature: Float) -> Float:
        """Σ over observations of curvature (n, channels) times a column each of designs i and j, a matrix a channel."""
        rows, columns = self.designs[i].shape[1], self.designs[j].shape[1]
        if (products := self._products.get((i, j))) is not None:
            return (curvature.T @ products).reshape(curvature.shape[1], rows, columns)
        return np.stack([(self.designs[i].T * own) @ self.designs[j] for own in curvature.T])

    def predictors(self, theta: Float, channels: Bool | slice = slice(None)) -> list[Float]:
        """μ, η and ξ of every observation, (n, channels) each, from coefficients (coefficients, channels)."""
        return [
            (offset[:, channels] if offset.shape[1] > 1 else offset) + design @ theta[block]
            for design, offset, block in zip(self.designs, self.offsets, self.blocks, strict=True)
        ]

    def value(self, theta: Float, channels: Bool | slice = slice(None)) -> Float:
        """What is maximised, a channel each; −inf where an observation lies outside the support, or ξ ≤ −1."""
        mu, eta, xi = self.predictors(theta, channels)
        with np.errstate(invalid="ignore", over="ignore"):
            each = self.weights * loglik(self.family, self.y[:, channels], mu, eta, xi)
            total = np.where(np.any(xi <= -1.0, axis=0), -np.inf, each.sum(axis=0))
            if self.prior is not None:
                total = total + (self.weights * self.prior(xi)[0]).sum(axis=0) / self.weights.sum()
        if self.ridge is not None:
            total = total - 0.5 * np.einsum("pc,pq,qc->c", theta, self.ridge, theta)
        return np.where(np.isnan(total), -np.inf, total)

    def derivatives(self, theta: Float, channels: Bool | slice = slice(None)) -> tuple[Float, Float]:
        """Gradient (channels, coefficients) and Hessian (channels, coefficients, coefficients) of `value`."""
        mu, eta, xi = self.predictors(theta, channels)
        first, second = terms(self.family, self.y[:, channels], mu, eta, xi)
        first, second = first * self.weights, second * self.weights
        if self.prior is not None:
            _, slope, bend = self.prior(xi)
            share = self.weights / self.weights.sum()
            first[2] += share * slope
            second[2, 2] += share * bend
        size = theta.shape[0]
        gradient, hessian = np.empty((theta.shape[1], size)), np.empty((theta.shape[1], size, size))
        for i, (design, block) in enumerate(zip(self.designs, self.blocks, strict=True)):
            gradient[:, block] = first[i].T @ design
            for j in range(i, 3):
                part = self._bend(i, j, second[i, j])
                hessian[:, block, self.blocks[j]] = part
                hessian[:, self.blocks[j], block] = part.transpose(0, 2, 1)
        if self.ridge is not None:
            gradient -= theta.T @ self.ridge
            hessian -= self.ridge
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
        Whether the gradient vanishes there; whether a shape is at −1.
    """

    theta: Float
    value: Float
    converged: Bool
    boundary: Bool


def maximize(problem: Problem, start: Float, free: Bool | None = None) -> Solution:
    """Climb from a start inside the support.

    Parameters
    ----------
    problem : Problem
        What to maximise.
    start : ndarray of float64, shape (coefficients, channels)
        Where to begin.
    free : ndarray of bool, shape (coefficients,), optional
        Coefficients that may move; by default all.
    """
    theta = np.array(start)
    value = problem.value(theta)
    free = np.ones(len(theta), dtype=bool) if free is None else free
    active = np.isfinite(value)
    converged = np.zeros(theta.shape[1], dtype=bool)
    for _ in range(_STEPS):
        if not active.any():
            break
        own = np.flatnonzero(active)
        gradient, hessian = problem.derivatives(theta[:, own], active)
        direction, promise = _ascent(gradient[:, free], hessian[:, free][:, :, free])
        whole = np.zeros((len(own), len(theta)))
        whole[:, free] = direction
        new, reached, gained = _step(problem, theta[:, own], value[own], whole.T, promise, active)
        done = promise <= 1e-22 * (1.0 + np.abs(value[own])) * len(problem.y)
        still = done | ~gained
        rounding = 1e-9 * (1.0 + np.abs(value[own]))  # a slope that no step can follow is rounding
        converged[own] = done | (~gained & (promise < rounding))
        theta[:, own], value[own] = new, reached
        active[own[still]] = False
    xi = problem.predictors(theta)[2]
    with np.errstate(invalid="ignore"):
        boundary = np.min(xi, axis=0) < -1.0 + 1e-6
    return Solution(theta, value, converged & ~boundary, boundary)


def _ascent(gradient: Float, hessian: Float) -> tuple[Float, Float]:
    """A direction that climbs, (channels, free), and what it promises, gᵀd."""
    sizes, vectors = np.linalg.eigh(-hessian)
    size = np.abs(sizes)
    floor = 1e-12 * size.max(axis=1, keepdims=True)
    turned = np.einsum("cpq,cp->cq", vectors, gradient) / np.maximum(size, np.where(floor > 0.0, floor, 1.0))
    direction = np.einsum("cpq,cq->cp", vectors, turned)
    return direction, np.einsum("cp,cp->c", gradient, direction)


def _step(
    problem: Problem, theta: Float, value: Float, direction: Float, promise: Float, channels: Bool
) -> tuple[Float, Float, Bool]:
    """The largest halving of a step that gains enough, and what is reached; where none does, no step."""
    length, reached = np.ones(theta.shape[1]), value.copy()
    rounding = _ROUNDING * (1.0 + np.abs(value))  # near the maximum a step gains less than the value can show
    waiting = np.ones(theta.shape[1], dtype=bool)
    for _ in range(_HALVINGS):
        found = problem.value(theta + length * direction, channels)
        gained = waiting & (found >= value + _ENOUGH * length * promise - rounding) & np.isfinite(found)
        reached[gained] = found[gained]
        waiting &= ~gained
        if not waiting.any():
            break
        length[waiting] *= 0.5
    length[waiting] = 0.0
    return theta + length * direction, reached, ~waiting
