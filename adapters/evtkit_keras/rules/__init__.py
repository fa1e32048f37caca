"""Rules: one small pure function a layer type, each factoring its per-sample weight gradient into batched products."""

from evtkit_keras.rules import convolution, dense, norm  # noqa: F401 (importing registers them)
from evtkit_keras.rules.registry import ENTRIES, Diagonal, Entry, Factors, Rule, Use, Whole, register

__all__ = ["ENTRIES", "Diagonal", "Entry", "Factors", "Rule", "Use", "Whole", "register"]
