"""Priors on the shape that keep few data from saying something absurd; each gives log p and two derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit._common.types import Float

__all__ = ["PRIORS"]


def coles_dixon(xi: Float) -> tuple[Float, Float, Float]:
    """−1/(1 − ξ) + 1 for 0 < ξ < 1, 0 below, −∞ above (Coles & Dixon 1999, with α = λ = 1)."""
    inside = np.clip(xi, 0.0, 1.0 - 1e-12)
    rest = 1.0 / (1.0 - inside)
    between = (xi > 0.0) & (xi < 1.0)
    value = np.where(xi >= 1.0, -np.inf, np.where(between, 1.0 - rest, 0.0))
    return value, np.where(between, -(rest**2), 0.0), np.where(between, -2.0 * rest**3, 0.0)


def martins_stedinger(xi: Float) -> tuple[Float, Float, Float]:
    """Beta(6, 9) of ½ − ξ on (−½, ½): mean 0.10, standard deviation 0.12 (Martins & Stedinger 2000; their κ is −ξ)."""
    inside = np.clip(xi, -0.5 + 1e-12, 0.5 - 1e-12)
    low, high = 0.5 - inside, 0.5 + inside
    outside = np.abs(xi) >= 0.5
    value = np.where(outside, -np.inf, 5.0 * np.log(low) + 8.0 * np.log(high))
    return value, -5.0 / low + 8.0 / high, -5.0 / low**2 - 8.0 / high**2


PRIORS: dict[str, Callable[[Float], tuple[Float, Float, Float]]] = {
    "coles-dixon": coles_dixon,
    "martins-stedinger": martins_stedinger,
}
"""By their names."""
