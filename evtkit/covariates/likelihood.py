r"""The log-likelihood of one observation under a GEV or a GPD, with its first and second derivatives.

Both laws are written by the reduced value :math:`b = \log(1 + ξz)/ξ`. With :math:`z = (y - μ)/σ` and
:math:`η = \log σ`,

- GPD: :math:`ℓ = -η - (1 + ξ) b`, with μ = 0,
- GEV: :math:`ℓ = -η - (1 + ξ) b - e^{-b}`.

Every derivative follows from those of b in z and ξ, which are computed without cancellation through ξ = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyval

if TYPE_CHECKING:
    from evtkit._common.types import Float

__all__ = ["loglik", "reduced", "terms"]

_SMALL = 0.2
_K = np.arange(26)
_SERIES = np.stack(
    [
        (-1.0) ** (_K + order) * np.prod([_K + i for i in range(1, order + 1)], axis=0) / (_K + order + 1.0)
        for order in range(3)
    ],
    axis=1,
)
"""Of log(1 + u)/u and its first two derivatives, by powers of u."""


def _log_ratio(u: Float) -> tuple[Float, Float, Float]:
    """log(1 + u)/u and its first two derivatives, for u > −1."""
    near = np.abs(u) < _SMALL
    far, small = np.where(near, 1.0, u), np.where(near, u, 0.0)
    log = np.log1p(far)
    first = (far / (1.0 + far) - log) / far**2
    second = -(1.0 / (1.0 + far) ** 2 + 2.0 * first) / far
    a, b, c = np.where(near, polyval(small, _SERIES), [log / far, first, second])
    return a, b, c


def reduced(z: Float, xi: Float) -> Float:
    """log(1 + ξz)/ξ; −inf or inf outside the support."""
    u = np.asarray(xi * z)
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.abs(u) < 1e-5
        whole = np.log1p(np.maximum(u, -1.0)) / np.where(xi == 0.0, 1.0, xi)
        return np.where(small, z * (1.0 - u * (0.5 - u / 3.0)), whole)


def loglik(family: str, y: Float, mu: Float | float, eta: Float, xi: Float) -> Float:
    """Log-likelihood of each observation; −inf outside the support."""
    with np.errstate(over="ignore", invalid="ignore"):
        z = (y - mu) * np.exp(-eta)
        outside = xi * z <= -1.0
        b = reduced(z, xi)
        value = -eta - (1.0 + xi) * b
        if family == "gev":
            value = value - np.exp(-b)
        return np.where(outside | np.isnan(value), -np.inf, value)


def terms(family: str, y: Float, mu: Float | float, eta: Float, xi: Float) -> tuple[Float, Float]:
    """Gradient (3, …) and Hessian (3, 3, …) of each observation's log-likelihood in (μ, η, ξ).

    Observations must lie inside the support. For a GPD the entries of μ are 0.
    """
    scale = np.exp(-eta)
    z = (y - mu) * scale
    u = xi * z
    a, a1, a2 = _log_ratio(u)
    s = 1.0 + u
    b = z * a
    b_z, b_x = 1.0 / s, z**2 * a1
    b_zz, b_zx, b_xx = -xi / s**2, -z / s**2, z**3 * a2
    if family == "gev":
        e = np.exp(-b)
        l_b, l_bb = e - (1.0 + xi), -e
    else:
        l_b, l_bb = -(1.0 + xi), np.zeros_like(b)
    shape = np.broadcast_shapes(z.shape, np.shape(xi))
    z_1 = (-scale if family == "gev" else np.zeros_like(z), -z)  # in μ, η
    z_2 = {(0, 0): 0.0, (0, 1): scale if family == "gev" else 0.0, (1, 1): z}
    gradient, hessian = np.zeros((3, *shape)), np.zeros((3, 3, *shape))
    l_z = l_b * b_z
    l_zz = l_bb * b_z**2 + l_b * b_zz
    l_zx = l_bb * b_z * b_x + l_b * b_zx - b_z  # the factor 1 + ξ of b depends on ξ too
    for i in range(2):
        gradient[i] = l_z * z_1[i]
        for j in range(i, 2):
            hessian[i, j] = hessian[j, i] = l_zz * z_1[i] * z_1[j] + l_z * z_2[i, j]
        hessian[i, 2] = hessian[2, i] = l_zx * z_1[i]
    gradient[1] -= 1.0
    gradient[2] = l_b * b_x - b
    hessian[2, 2] = l_bb * b_x**2 + l_b * b_xx - 2.0 * b_x
    return gradient, hessian
