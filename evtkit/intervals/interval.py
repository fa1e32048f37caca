"""Interval: estimates with confidence limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float, Int

__all__ = ["METHODS", "Interval", "check_level"]

METHODS = ("profile", "bartlett", "delta")


@dataclass(frozen=True, eq=False, repr=False)
class Interval(Result):
    """Maximum-likelihood estimates with confidence limits; one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    estimate, lower, upper : ndarray of float64
        NaN where there is no fit; limits are NaN too where the delta method does not apply. Where several values were
        asked for, they run along the first axes and the channels along the last.
    level : float
        Confidence level.
    method : str
        ``"profile"``, ``"bartlett"``, ``"delta"``, or what else an estimator says.
    status : ndarray of int64
        The fit's `evtkit.FitStatus`, an entry a channel.
    coverage : ndarray of float64, or None
        How often such limits held the truth in simulations with as many excesses (:doc:`/intervals`); None where that
        was not measured.
    names : ndarray of str, or None
        Of the channels.
    asked : (str, ndarray), or None
        What was asked for, such as "period" and the periods; it broadcasts with the estimates.

    See Also
    --------
    evtkit.Tail.return_level : makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> tail = fit_tail(np.random.default_rng(0).standard_t(df=4, size=10_000), quantile=0.95)
    >>> level = tail.return_level([100, 10_000], interval=0.95)
    >>> level.estimate.round(1), level.lower.round(1), level.upper.round(1)
    (array([ 3.6, 14. ]), array([ 3.5, 10.9]), array([ 3.8, 20. ]))
    """

    estimate: Float
    lower: Float
    upper: Float
    level: float
    method: str
    status: Int
    coverage: Float | None = None
    names: NDArray[np.str_] | None = None
    asked: tuple[str, Float] | None = None

    def __post_init__(self) -> None:
        for name in ("estimate", "lower", "upper"):  # 0-d arithmetic makes scalars of arrays
            object.__setattr__(self, name, np.asarray(getattr(self, name)))

    def _table(self) -> dict[str, Any]:
        """The channel and what was asked for stand in front."""
        table = super()._table()
        if self.asked is None:
            return table
        name, values = self.asked
        channel = {"channel": table.pop("channel")} if "channel" in table else {}
        return channel | {name: np.broadcast_to(values, self.estimate.shape).ravel()} | table

    def __repr__(self) -> str:
        what = f"{100 * self.level:g} % {self.method} limits"
        if self.estimate.ndim == 0:
            head = f"Interval({self.estimate:.4g}, {what} {self.lower:.4g} … {self.upper:.4g}"
        else:
            head = f"Interval({'×'.join(map(str, self.estimate.shape))} estimates, {what}"
        if self.coverage is not None and np.nanmin(self.coverage, initial=1.0) < self.level - 0.03:
            head += f"; held the truth in {100 * float(np.nanmin(self.coverage)):.0f} % of simulations"
        return head + ")"


def check_level(level: float, method: str, *, without: tuple[str, ...] = ()) -> None:
    """Refuse a confidence level or a method that is none."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if method not in (known := [name for name in METHODS if name not in without]):
        raise ValueError(f"method must be one of {', '.join(map(repr, known))}, got {method!r}")
