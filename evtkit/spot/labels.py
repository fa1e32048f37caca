"""What a detector says of an observation."""

from __future__ import annotations

from enum import IntEnum

from evtkit._kernels import labels
from evtkit._kernels.labels import HUGE

__all__ = ["ANOMALY", "EXCESS", "HUGE", "MISSING", "NORMAL", "Label"]


class Label(IntEnum):
    """What `Spot.update` says of an observation."""

    MISSING = labels.MISSING
    """NaN, with ``nonfinite="skip"``."""
    NORMAL = labels.NORMAL
    """At or below the threshold."""
    EXCESS = labels.EXCESS
    """Beyond the threshold, at or below the alarm level."""
    ANOMALY = labels.ANOMALY
    """Beyond the alarm level: an alarm."""


MISSING, NORMAL, EXCESS, ANOMALY = Label
