"""Spot and DSpot: alarms on streams, whose level is learnt from the stream and follows it.

An alarm level z is the value that an ordinary observation exceeds with a probability that you name, the risk. It comes
from a peaks-over-threshold model that learns every excess as it arrives (Siffer et al. 2017): with N_u excesses over
the threshold u among n observations,

    z = u + σ/ξ · ((risk · n/N_u)^(−ξ) − 1),

ξ and σ being the exact maximum-likelihood fit of the excesses kept (`evtkit.fit_gpd`). One observation x after another
is judged by the model before it, and then learnt:

    x > z           ANOMALY: not learnt, unless asked for
    u < x ≤ z       EXCESS: joins the excesses, and moves z
    x ≤ u           NORMAL: counted
"""

from __future__ import annotations

from evtkit.spot.detectors import DSpot, Spot, Trace
from evtkit.spot.events import Alarm, Event, Events
from evtkit.spot.labels import ANOMALY, EXCESS, MISSING, NORMAL, Label

__all__ = ["ANOMALY", "EXCESS", "MISSING", "NORMAL", "Alarm", "DSpot", "Event", "Events", "Label", "Spot", "Trace"]
