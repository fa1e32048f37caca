"""Spot and DSpot: alarms on streams, whose level is learnt from the stream and follows it.

An alarm level z is the value that the next ordinary observation exceeds with a probability that you name, the risk. It
comes from a peaks-over-threshold model that learns every excess as it arrives (after Siffer et al. 2017): with N_u
excesses over the threshold u among n observations,

    (N_u + 1)/(n + 1) · P(Y > z − u) = risk,

where the probability of the next excess Y averages over what ξ and σ may be, given the excesses kept (the law of
`evtkit.predictive`). One observation x after another is judged by the model before it, and then learnt:

    x > z           ANOMALY: learnt if the tail can account for it
    u < x ≤ z       EXCESS: joins the excesses, and moves z
    x ≤ u           NORMAL: counted

A label a value is for programs; `Events` gathers alarms into incidents, each told once. `Stuck` finds what levels
cannot show, a stream that repeats one value. `Seasonal` judges each row by its own hour of the day.
"""

from __future__ import annotations

from evtkit.spot.detectors import DSpot, Spot
from evtkit.spot.events import Alarm, Event, Events
from evtkit.spot.labels import ANOMALY, EXCESS, MISSING, NORMAL, Label
from evtkit.spot.seasonal import Seasonal
from evtkit.spot.stuck import Repeat, Stuck
from evtkit.spot.trace import Trace

__all__ = [
    "ANOMALY",
    "EXCESS",
    "MISSING",
    "NORMAL",
    "Alarm",
    "DSpot",
    "Event",
    "Events",
    "Label",
    "Repeat",
    "Seasonal",
    "Spot",
    "Stuck",
    "Trace",
]  # fmt: skip
