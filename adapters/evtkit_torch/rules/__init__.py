"""Rules: one small pure function an operation, each factoring its per-sample weight gradient into matrix products."""

from evtkit_torch.rules import convolution, linear, norm  # noqa: F401 (importing registers them)
from evtkit_torch.rules.attention import DECOMPOSITIONS
from evtkit_torch.rules.registry import MODULE_RULES, Operation, Rule, Use, find_operation, register

__all__ = ["DECOMPOSITIONS", "MODULE_RULES", "Operation", "Rule", "Use", "find_operation", "register"]
