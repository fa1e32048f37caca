"""A tail in words: the line of its repr, and what is wrong with its dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from evtkit._common.types import Int
    from evtkit.dated import Dates

__all__ = ["dates_in_words", "described"]


def described(tail: Any) -> str:
    """One channel with its numbers; of many the states of their fits and the spread of their shapes."""
    beyond = ">" if tail.side == "upper" else "<"
    if tail.threshold.ndim == 0:
        name = "x" if tail.names is None else tail.names
        return (
            f"Tail({name} {beyond} {tail.threshold:.6g}: {tail.n_excess} of {tail.n}, "
            f"xi={tail.xi:.4g} ± {tail.se_xi:.2g}, sigma={tail.sigma:.4g} ± {tail.se_sigma:.2g}, "
            f"{FitStatus(int(tail.status)).name})"
        )
    states = [f"{np.count_nonzero(tail.status == s)} {s.name}" for s in FitStatus if np.any(tail.status == s)]
    low, middle, high = np.nanpercentile(tail.xi, [5, 50, 95]) if np.any(tail.is_fitted) else [np.nan] * 3
    names = "" if tail.names is None else f" {', '.join(tail.names[:3])}{', …' if len(tail) > 3 else ''}"
    return (
        f"Tail({len(tail)} channels{names}, {tail.side} side, "
        f"{np.sum(tail.n_excess)} excesses: {', '.join(states)}; "
        f"xi {middle:.3g}, 90 % of channels in {low:.3g} … {high:.3g})"
    )


def dates_in_words(dates: Dates | None, n: Int, left_out: Int) -> tuple[str, ...]:
    """What is wrong with the dates, and how many observations are missing of those that have one."""
    if dates is None:
        return ()
    total = len(dates.time)
    missing = (total - n - left_out).reshape(-1)
    most, least = int(missing.max()), int(missing.min())
    where = f" in one channel, {least:,} in another" if most > least else ""
    lines = [f"{most:,} of {total:,} values {'is' if most == 1 else 'are'} missing{where}"] if most > 0 else []
    return (*dates.remarks, *lines)
