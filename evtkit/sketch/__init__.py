"""Sketches: what tail models need of data, in one pass, mergeable and exact; by channel, and by key."""

from evtkit.sketch.channels import TailSketch
from evtkit.sketch.fitting import capacity_for
from evtkit.sketch.groups import GroupSketch

__all__ = ["GroupSketch", "TailSketch", "capacity_for"]
