"""Thresholds that move, by quantile regression, and how often they are exceeded, by logistic regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evtkit._common.types import Float

__all__ = ["exceedance_rate", "quantile_regression"]

_STEPS = 100
_RIDGE = 1e-12  # keeps a coefficient finite where a covariate separates the exceedances


def quantile_regression(y: Float, design: Float, quantile: float) -> Float:
    """Coefficients of the quantile of y that is linear in a design, (columns,) (Koenker & Bassett 1978).

    The sum of the tilted absolute values is smallest, by SciPy's linear programming (HiGHS).
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    # the dual problem has as many constraints as coefficients, which are its multipliers
    result = linprog(
        -y, A_eq=csr_array(design.T), b_eq=(1.0 - quantile) * design.sum(axis=0), bounds=(0.0, 1.0), method="highs"
    )
    if result.status != 0:
        raise ValueError(f"threshold must be found by quantile regression, got no solution: {result.message}")
    return np.asarray(-result.eqlin.marginals, dtype=np.float64)


def exceedance_rate(above: Float, design: Float) -> tuple[Float, Float]:
    """Logistic regression of being above: coefficients (columns,) and their covariance, by Newton's method."""
    n, columns = design.shape
    q, r = np.linalg.qr(design)
    q, r = q * np.sqrt(n), r / np.sqrt(n)
    share = np.clip(above.mean(), 0.5 / n, 1.0 - 0.5 / n)
    theta = q.T @ np.full(n, np.log(share / (1.0 - share))) / n

    def value(t: Float) -> float:
        linear = q @ t
        return float(above @ linear - np.logaddexp(0.0, linear).sum() - 0.5 * _RIDGE * n * t @ t)

    now = value(theta)
    information = np.eye(columns)
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-(q @ theta)))
        gradient = q.T @ (above - chance) - _RIDGE * n * theta
        information = (q * (chance * (1.0 - chance))[:, None]).T @ q + _RIDGE * n * np.eye(columns)
        step = np.linalg.solve(information, gradient)
        while value(theta + step) < now and np.abs(step).max() > 1e-14:
            step *= 0.5
        theta, now = theta + step, value(theta + step)
        if gradient @ step < 1e-16 * n:
            break
    back = np.linalg.inv(r)
    return back @ theta, back @ np.linalg.inv(information) @ back.T
