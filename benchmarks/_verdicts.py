"""How a network fared against the loop over its samples, in a line."""

from __future__ import annotations

from typing import Any

__all__ = ["verdict"]


def verdict(net: Any, worst: float, slow: int) -> str:
    """Exact or not, what is covered, and what share of that goes the slow way."""
    kinds = " ".join(dict.fromkeys(net.units.kind.tolist()))
    exact = "exact" if worst < 1e-9 else f"WRONG {worst:.1e}"
    share = slow / max(1, net.coverage.covered)
    return (
        f"{exact:9s} {len(net.units):6d} units, {100 * net.coverage.fraction:5.1f} % covered, "
        f"{100 * share:5.1f} % of it slow   {kinds}"
    )
