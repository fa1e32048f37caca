"""Compute evtkit/gof/points.py: the asymptotic distributions of W² and A² for a GPD with both parameters estimated.

    python benchmarks/gof_table.py > evtkit/gof/points.py

Under a GPD fitted by maximum likelihood, both statistics tend to Σ λᵢ χ²₁ (Choulakian & Stephens 2001), where λ are the
eigenvalues of the covariance of the estimated empirical process, min(s, t) − st − g(s)ᵀ I⁻¹ g(t), g = ∂F/∂(σ, ξ) at the
quantile s, for A² divided by √(s(1−s)t(1−t)). They are found in the basis in which the first two terms are diagonal:
√2 sin jπs with 1/(jπ)² for W², normalised associated Legendre functions of order 1 with 1/(j(j+1)) for A². The
distribution of the sum follows by Imhof's (1961) inversion, its percentage points by root finding.

Rows are evenly spaced in 1/(1 + ξ), from 0 (ξ = ∞, where the distributions are those for an exponential of unknown
scale) to 2 (ξ = −½, where the regular theory ends).
"""

from __future__ import annotations

import textwrap

import numpy as np
from scipy.optimize import brentq
from scipy.special import roots_legendre

TERMS = 160
NODES, WEIGHTS = roots_legendre(4000)  # on [−1, 1]
INVERSE = np.linspace(0.0, 2.0, 21)  # 1/(1 + ξ)
P = [0.9999, 0.999, 0.99, 0.975, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.025,
     0.01, 0.005, 0.0025, 0.001, 1e-4, 1e-5, 1e-6]  # fmt: skip


def estimated(log_s: np.ndarray, xi: float) -> np.ndarray:
    """Vectors v with g(s)ᵀ I⁻¹ g(t) = v(s)ᵀ v(t) for log survival probabilities, at σ = 1."""
    s = np.exp(log_s)
    if np.isinf(xi):
        return np.stack([s * log_s])
    x = xi * log_s
    by_sigma = np.expm1(x) / xi if xi else log_s
    near = np.abs(x) < 1e-3
    rest = np.where(near, 1.0, x)
    by_xi = -(log_s**2) * np.where(near, 0.5 + x / 6 + x * x / 24, (np.expm1(rest) - rest) / rest**2)
    inverse_information = (1 + xi) * np.array([[2.0, -1.0], [-1.0, 1 + xi]])  # Smith (1985)
    values, vectors = np.linalg.eigh(inverse_information)
    return (vectors * np.sqrt(np.maximum(values, 0.0))).T @ (s * np.stack([by_sigma, by_xi]))


def eigenvalues(xi: float, statistic: str) -> tuple[np.ndarray, float]:
    """The λ, and the sum of those that the finite basis leaves out."""
    theta = 0.5 * np.pi * NODES  # s = ½(1 + sin θ) gathers the nodes at both ends
    survival, s = np.sin(0.25 * np.pi - 0.5 * theta) ** 2, np.cos(0.25 * np.pi - 0.5 * theta) ** 2
    j = np.arange(1, TERMS + 1)
    if statistic == "w2":
        base, total = 1.0 / (j * np.pi) ** 2, 1.0 / 6.0
        functions = np.sqrt(2.0) * np.sin(np.pi * np.outer(j, s))
    else:
        base, total = 1.0 / (j * (j + 1.0)), 1.0
        slopes = np.zeros((TERMS + 2, s.size))  # of the Legendre polynomials at 2s − 1
        x, old, new = s - survival, np.ones_like(s), s - survival
        slopes[1] = 1.0
        for k in range(1, TERMS + 1):
            slopes[k + 1] = slopes[k - 1] + (2 * k + 1) * new
            old, new = new, ((2 * k + 1) * x * new - k * old) / (k + 1)
        # √(s(1−s)) of the function cancels against the weight of A²
        functions = 2.0 * slopes[1 : TERMS + 1] * np.sqrt((2 * j + 1) / (j * (j + 1.0)))[:, None]
    c = (functions * (WEIGHTS * 0.25 * np.pi * np.cos(theta))) @ estimated(np.log(survival), xi).T
    return np.linalg.eigvalsh(np.diag(base) - c @ c.T)[::-1], total - base.sum()


class WeightedChiSquares:
    """Σ λ χ²₁ + constant; its survival function is ½ + ∫ sin θ(u) / (π u ρ(u)) du (Imhof 1961, equation 3.2)."""

    def __init__(self, weights: np.ndarray, constant: float) -> None:
        self.constant = constant
        v = 0.5 * (1.0 + NODES)
        self.u = v * v * 400.0 / weights[0]
        self.angle, log_rho = np.zeros_like(v), np.zeros_like(v)
        for weight in weights[weights > 0]:
            self.angle += 0.5 * np.arctan(weight * self.u)
            log_rho += 0.25 * np.log1p((weight * self.u) ** 2)
        self.damping = np.exp(-log_rho) * WEIGHTS / v  # du/u = 2 dv/v

    def sf(self, x: float) -> float:
        """P(sum > x)."""
        return 0.5 + np.sin(self.angle - 0.5 * (x - self.constant) * self.u) @ self.damping / np.pi


def points(xi: float, statistic: str, levels: list[float]) -> list[float]:
    """Upper-tail percentage points."""
    weights, rest = eigenvalues(xi, statistic)
    total = WeightedChiSquares(weights, rest)
    return [
        brentq(lambda x, p: total.sf(x) - p, rest, 45.0 * weights[0], args=(p,), xtol=1e-9, rtol=1e-12) for p in levels
    ]


def wrapped(line: str, indent: str) -> str:
    """The line within 120 columns."""
    return textwrap.fill(line, 116, initial_indent=indent, subsequent_indent=indent + "    ")


def main() -> None:
    """Print the module."""
    lines = [
        '"""Percentage points of W² and A² for a GPD fitted by maximum likelihood; see benchmarks/gof_table.py.',
        "",
        "W2[i][j] and A2[i][j] are exceeded with probability P[j] where 1/(1 + ξ) = i/10.",
        '"""',
        "",
        "# fmt: off",
        wrapped(f"P = {P}", ""),
    ]
    for statistic in ("w2", "a2"):
        lines.append(f"{statistic.upper()} = [")
        for inverse in INVERSE:
            xi = 1.0 / inverse - 1.0 if inverse else np.inf
            row = ", ".join(f"{x:.5g}" for x in points(xi, statistic, P))
            lines.append(wrapped(f"[{row}],", "    "))
        lines.append("]")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
