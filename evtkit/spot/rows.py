"""How often the smallest probability of a row is as small as it is: the budget that many streams share."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["RowBudget"]

_PRIOR = 10.0  # rows that what is believed at the beginning is worth
_SCALE = 1.5  # of S then: single levels are exceeded somewhat too often, the more so the farther out they lie
_SHAPE = 0.05  # of its tail, for streams are not all alike
_COMMON = 0.1  # P that is not small any more
_ERRORS = 3.0  # of the number of alarms that may be learnt


@dataclass
class RowBudget:
    """The level of P, a row's probability by Simes' inequality, that ordinary rows pass with the probability `risk`.

    Each stream's level is right on average at its own risk. That of a row of m streams lies m times farther out, beyond
    what any of them has seen, where fitted tails are less trustworthy. But the rows themselves say how often P is
    small: all with P ≤ m · risk are known. There S = −log P, were all right, would have that rate and an exponential
    distribution of scale 1. Rate and scale are learnt; a row counts as an alarm only beyond their level.

    Of rows beyond the level as many are learnt as the risk lets expect, and three standard errors, each as being at the
    level: incidents move it by little.

    Attributes
    ----------
    risk : float
        Of a row.
    streams : int
        m.
    rows, inside, beyond : int
        Rows seen, those with a P up to the ceiling that are no alarms, and alarms.
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
        """P up to which rows are looked at; all are known up to m · risk, if that is small."""
        return min(max(_COMMON, self.risk), self.streams * self.risk)

    def log_level(self) -> float:
        """The logarithm of P at the level."""
        expected = self.risk * self.rows
        beyond = min(float(self.beyond), expected + _ERRORS * math.sqrt(expected) + 1.0)
        count = _PRIOR + self.inside
        ratio = max(1.0, (count + beyond) / (_PRIOR / self.ceiling + self.rows) / self.risk)
        steps = math.log(ratio)
        if steps == 0.0:
            return math.log(self.ceiling)
        # from the mean of S to its level: of a generalised Pareto tail whose scale is known no better than by so many
        far: float = (ratio**_SHAPE - 1.0) / _SHAPE * (1.0 - _SHAPE) * count * math.expm1(steps / count) / steps
        # alarms are censored at the level, which is the mean times that
        mean = (_PRIOR * _SCALE + self.total) / max(0.5 * count, count - beyond * far)
        return math.log(self.ceiling) - mean * far

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
