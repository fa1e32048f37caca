"""What a detector says of an observation."""

from __future__ import annotations

from enum import IntEnum

from evtkit._kernels import labels
from evtkit._kernels.labels import HUGE

__all__ = ["ANOMALY", "EXCESS", "HUGE", "MISSING", "NORMAL", "Label"]


class Label(IntEnum):
    """What `Spot.update` says of an observation.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot
    >>> x = np.random.default_rng(0).standard_normal(3000)
    >>> x[2000:2005] = 9.0
    >>> spot = Spot(risk=1e-4).fit(x[:1500])
    >>> spot.step(9.0), int(spot.step(0.0))
    (<Label.ANOMALY: 2>, 0)
    """

    MISSING = labels.MISSING
    """NaN, with ``nonfinite="skip"``."""
    NORMAL = labels.NORMAL
    """At or below the threshold."""
    EXCESS = labels.EXCESS
    """Beyond the threshold, at or below the alarm level."""
    ANOMALY = labels.ANOMALY
    """Beyond the alarm level: an alarm."""


MISSING, NORMAL, EXCESS, ANOMALY = Label
