"""How often the smallest probability of a row is as small as it is: the budget that many streams share."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["RowBudget"]

_PRIOR = 20.0  # rows that what is believed at the beginning is worth
_SCALE = 1.35  # of the exponential distribution then; what single levels are exceeded too often by


@dataclass
class RowBudget:
    """The level of P, a row's probability by Simes' inequality, that ordinary rows pass with the probability `risk`.

    Each stream's level is right on average at its own risk. That of a row of m streams lies m times farther out, beyond
    what any of them has seen, where fitted tails are less trustworthy. But the rows themselves say how often P is
    small: all with P ≤ m · risk are known. There S = −log P, were all right, would have the rate m · risk and an
    exponential distribution of scale 1. Rate and scale are learnt; a row counts as an alarm only beyond their level.

    Of rows beyond the level as many are learnt as the risk lets expect, so that incidents do not move it.

    Attributes
    ----------
    risk : float
        Of a row.
    streams : int
        m.
    rows, inside, beyond : int
        Rows seen, those with P ≤ m · risk that are no alarms, and alarms.
    total : float
        The sum of S above its least value over those inside.
    """

    risk: float
    streams: int
    rows: int = 0
    inside: int = 0
    beyond: int = 0
    total: float = 0.0

    @property
    def ceiling(self) -> float:
        """P up to which all rows are known."""
        return min(1.0, self.streams * self.risk)

    def log_level(self) -> float:
        """The logarithm of P at the level."""
        expected = self.risk * self.rows
        beyond = min(float(self.beyond), expected + math.sqrt(expected))
        count = _PRIOR + self.inside
        rate = (count + beyond) / (_PRIOR / self.ceiling + self.rows)
        steps = max(0.0, math.log(rate / self.risk))
        # alarms are censored at the level, which is the scale times these steps
        scale = (_PRIOR * _SCALE + self.total) / max(0.5 * count, count - beyond * steps)
        return math.log(self.ceiling) - scale * steps

    def learn(self, log_p: float) -> None:
        """Take in a row's P."""
        above = math.log(self.ceiling) - log_p
        if above < 0.0:
            return
        if log_p <= self.log_level():
            self.beyond += 1
        else:
            self.inside += 1
            self.total += above
