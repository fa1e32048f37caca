"""Numbers, probabilities and periods in the words of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evtkit.dated.dates import shown

if TYPE_CHECKING:
    from evtkit.dated import Dates

__all__ = ["number", "p_value", "period_text", "span_text", "with_error"]


_LONGEST = 1e12


def number(value: float, digits: int = 4) -> str:
    """A number to so many digits, with a minus that is one."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    form = f",.{digits}g" if abs(value) < 10.0**digits else ",.0f" if abs(value) < _LONGEST else f".{digits}g"
    return f"{value:{form}}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value in words."""
    return "not known" if math.isnan(value) else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def with_error(value: float, error: float, digits: int = 3) -> str:
    """An estimate with its standard error, where it has one."""
    return number(value, digits) + (f" ± {number(error, 2)}" if error > 0.0 else "")


def period_text(m: float, per: str | float) -> str:
    """A return period in words."""
    return f"{number(m, 10)} {per}{'s' * (m != 1.0)}" if isinstance(per, str) else f"{number(m, 10)} observations"


def span_text(dates: Dates) -> str:
    """The first date to the last."""
    first, last = dates.local()[[0, -1]]
    return f"{shown(first)} to {shown(last)}"
