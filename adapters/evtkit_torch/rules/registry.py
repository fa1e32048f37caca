"""The registry of rules: how an operation's per-sample weight gradient factors into one batched matrix product."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from evtkit.saliency.adapting import Block, LayerTypes, single
from evtkit_torch.layers import holds

__all__ = ["MODULE_RULES", "NoRuleError", "Operation", "Rule", "Use", "find_operation", "register"]


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a weight in the forward pass, and the gradient that came back to it.

    Parameters
    ----------
    weight : Tensor
        The weight.
    a : Tensor, shape (m, ...)
        Input of the operation, samples first, in the dtype to accumulate in. Where a model folds a sequence into
        the batch, m is a multiple of the number of samples, each sample's rows in succession.
    g : Tensor, shape (m, ...)
        Gradient of the summed loss with respect to the operation's output.
    options : mapping
        The operation's other arguments by name; for a layer type's rule, ``{"module": module}``.
    axes : tuple of int
        The lanes wanted: see `evtkit.saliency.adapting.Lanes`.
    """

    weight: Tensor
    a: Tensor
    g: Tensor
    options: Mapping[str, Any]
    axes: tuple[int, ...] = (0,)

    def with_tensors(self, a: Tensor, g: Tensor) -> Use:
        """Return the same use with other tensors: some of the samples, or another dtype."""
        return replace(self, a=a, g=g)


Outputs = Literal["channels", "features", "words", "scales"]


class NoRuleError(Exception):
    """A rule has no blocks for this use: it is left to the slow way."""


Rule = Callable[[Use], tuple[Block, ...]]
"""From a use to blocks that together hold every weight once: each lane's numbers are spread over the blocks in any
order, but in the same one for all uses of a weight."""


@dataclass(frozen=True, eq=False)
class Operation:
    """A torch function whose weight has a rule.

    Parameters
    ----------
    rule : callable
        From a `Use` to its blocks.
    arguments : tuple of str
        The function's parameters in order.
    channels_last : bool
        Whether features are the input's last axis, so that the batch may be any other; else the batch is axis 0.
    input, weight : str
        Which arguments are the input and the weight.
    outputs : {"channels", "features", "words", "scales"} or None
        For an operation linear in its weight, what of the output belongs to which unit, so that Taylor saliency can be
        taken from it: axis 1, the last axes, the positions of a word, or what a scale was multiplied with.
    features : int or None
        With ``channels_last``, how many of the last axes are features; by default as many as the weight has.
    along : int
        Axis of a matrix along which the outputs' units are.
    """

    rule: Rule
    arguments: tuple[str, ...]
    channels_last: bool = False
    input: str = "input"
    weight: str = "weight"
    outputs: Outputs | None = None
    features: int | None = None
    along: int = 0

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by name."""
        return {**dict(zip(self.arguments, args, strict=False)), **kwargs}


_OPERATIONS: dict[Any, Operation] = {}
MODULE_RULES: LayerTypes[tuple[str, Rule]] = LayerTypes()
"""For layer types with a rule of their own, the parameter's name and the rule."""


def register(
    *targets: Any,
    arguments: str | None = None,
    channels_last: bool = False,
    input: str = "input",
    weight: str = "weight",
    outputs: Outputs | None = None,
    features: int | None = None,
    along: int = 0,
    kind: str = "channels",
    parameter: str = "weight",
    axes: Sequence[int] | None = (0,),
) -> Callable[[Rule], Rule]:
    """Register a rule for torch functions or for layer types of one's own.

    A rule for a function holds wherever a weight enters that function: in torch's layers, in subclasses that override
    ``forward``, and in functional use. A layer type needs a rule of its own only if its forward does something else
    with its weight; the rule then sees the layer's first input and its output, and must be exact for the layer as a
    whole.

    Parameters
    ----------
    *targets : function or nn.Module type
        What the rule is for.
    arguments : str, optional
        A function's parameter names in order, separated by blanks; by default, its signature's.
    channels_last : bool
        For functions: features are the input's last axis and the batch may be any other.
    input, weight : str
        For functions: the names of the input and the weight among the arguments.
    outputs : {"channels", "features", "words", "scales"}, optional
        For functions whose output is linear in the weight, but for a ``bias``: where the output has its units, along
        axis 1, along the last axes, at each word's positions, or wherever a scale was multiplied with. Taylor saliency
        is then taken from the output, which needs no matrix product.
    features : int, optional
        With ``channels_last``: how many of the last axes are features; by default as many as the weight has axes.
    along : int
        For functions with a matrix: its axis along which the outputs are.
    kind, parameter : str
        For layer types: the kind of units they hold, and in which parameter.
    axes : tuple of int, or None
        For layer types: axes of the parameter that number the units; None for all, so that every weight is a unit.

    Returns
    -------
    callable
        Decorator for the rule.

    Examples
    --------
    >>> import torch
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self, channels):
    ...         super().__init__()
    ...         self.gamma = torch.nn.Parameter(torch.ones(channels))
    ...     def forward(self, x):
    ...         return x * self.gamma
    >>> @register(Scale, kind="scales", parameter="gamma")
    ... def scale(use):
    ...     # n sample, c channel, q position: γ's gradient is Σ_q g x
    ...     a, g = use.a.flatten(1, -2), use.g.flatten(1, -2)
    ...     return (Block(g.transpose(1, 2).unsqueeze(2), a.transpose(1, 2).unsqueeze(3), use.weight.view(-1, 1, 1)),)
    """

    def decorate(rule: Rule) -> Rule:
        for target in targets:
            if isinstance(target, type) and issubclass(target, nn.Module):
                MODULE_RULES.declare([target], (parameter, rule))
                holds(target, kind=kind)(single(parameter, axes))
            else:
                names = tuple(arguments.split()) if arguments else tuple(inspect.signature(target).parameters)
                _OPERATIONS[target] = Operation(rule, names, channels_last, input, weight, outputs, features, along)
        return rule

    return decorate


def find_operation(function: Any) -> Operation | None:
    """Return the operation registered for a torch function, or None."""
    try:
        return _OPERATIONS.get(function)
    except TypeError:  # unhashable callables
        return None
