"""The job behind ``evtkit demo``: real prices, which Matplotlib ships, and a network that reads scikit-learn's digits.

A demonstration is a row of parts. Each is a function that takes the folder for its pictures and returns what it found;
a new part is one more function in `PARTS`.
"""

from __future__ import annotations

from evtkit.demo.job import PARTS, Part, daily_losses, monthly_losses, run

__all__ = ["PARTS", "Part", "daily_losses", "monthly_losses", "run"]
