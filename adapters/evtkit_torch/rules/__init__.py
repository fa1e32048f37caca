"""Rules: one small pure function an operation, each factoring its per-sample weight gradient into one matrix product."""

from evtkit_torch.rules import convolution, linear, norm  # noqa: F401 (importing registers them)
from evtkit_torch.rules.attention import DECOMPOSITIONS
from evtkit_torch.rules.registry import Factors, Operation, Rule, Use, find_module_rule, find_operation, register

__all__ = ["DECOMPOSITIONS", "Factors", "Operation", "Rule", "Use", "find_module_rule", "find_operation", "register"]
