"""Rules: one small pure function a layer type, each factoring its per-sample weight gradient into batched products."""

from evtkit_keras.rules import convolution, dense, norm  # noqa: F401 (importing registers them)
from evtkit_keras.rules.registry import Block, Diagonal, Entry, Factors, Rule, Use, Whole, find_entry, register

__all__ = ["Block", "Diagonal", "Entry", "Factors", "Rule", "Use", "Whole", "find_entry", "register"]
