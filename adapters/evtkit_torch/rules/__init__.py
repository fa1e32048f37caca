"""Rules: one small pure function an operation, each factoring its per-sample weight gradient into matrix products."""

from evtkit_torch.rules import attention, linear, norm, product  # noqa: F401 (importing registers them)
from evtkit_torch.rules.convolution import convolution
from evtkit_torch.rules.einsum import einsum_as_linear
from evtkit_torch.rules.recurrent import RECURRENT, is_packed
from evtkit_torch.rules.registry import MODULE_RULES, NoRuleError, Operation, Rule, Use, find_operation, register

__all__ = [
    "DECOMPOSITIONS",
    "MODULE_RULES",
    "RECURRENT",
    "NoRuleError",
    "Operation",
    "Rule",
    "Use",
    "convolution",
    "einsum_as_linear",
    "find_operation",
    "is_packed",
    "register",
]

DECOMPOSITIONS = {**attention.DECOMPOSITIONS, **RECURRENT}
"""Functions that hide weights, and the same computed from functions that have rules."""
