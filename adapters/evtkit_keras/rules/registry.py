"""The registry of rules: how a layer's per-sample weight gradient factors into batched products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import tensorflow as tf

from evtkit.saliency.adapting import Block, LayerTypes, single
from evtkit_keras.layers import holds

__all__ = [
    "ENTRIES",
    "Diagonal",
    "Entry",
    "Factors",
    "Rule",
    "Use",
    "Whole",
    "compute",
    "register",
    "rule_for",
]


class Diagonal(NamedTuple):
    """Part of a weight's per-sample gradient with one number a lane: the sum over q of ``left · right``."""

    left: Any  # (n, q, lanes)
    right: Any  # (n, q, lanes)
    weight: Any = None  # (lanes,)


class Whole(NamedTuple):
    """Part of a weight's per-sample gradient as it is, where an operation makes it at once."""

    gradient: Any  # (n, lanes, k)
    weight: Any = None  # (lanes, k)


Factors = Block | Diagonal | Whole


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a weight in the forward pass, and the gradient that came back to it.

    Parameters
    ----------
    weight : tuple of int
        Shape of the weight.
    a : tensor, shape (m, ...)
        Input of the layer, samples first, in the dtype to accumulate in. Where a model folds a sequence into the
        batch, m is a multiple of the number of samples, each sample's rows in succession.
    g : tensor, shape (m, ...)
        Gradient of the summed loss with respect to the layer's output, before its activation.
    layer : keras.Layer
        The layer, for its options.
    axes : tuple of int
        The lanes wanted: see `evtkit.saliency.adapting.Lanes`.
    value : tensor or None
        The weight itself, as it is when the profile is taken, for ``reduction="taylor"``. None for the others, so that
        no rule arranges it in vain.
    """

    weight: tuple[int, ...]
    a: Any
    g: Any
    layer: Any
    axes: tuple[int, ...]
    value: Any = None

    def with_tensors(self, a: Any, g: Any) -> Use:
        """Return the same use with other tensors: some of the samples, or another dtype."""
        return replace(self, a=a, g=g)

    def arranged(self, shape: Sequence[int], order: Sequence[int], result: Sequence[int] | None = None) -> list[Any]:
        """Put the weight in the order of the products: reshape, transpose, reshape again, cut along the first axis.

        Parameters
        ----------
        shape : tuple of int
            To see the weight in.
        order : tuple of int
            Of these axes; the first one tells the products apart.
        result : tuple of int, optional
            What to make of the transposed weight; by default nothing.

        Returns
        -------
        list of tensor or None
            The weight of each product; None where the reduction takes none.
        """
        if self.value is None:
            return [None] * (result[0] if result else shape[order[0]])
        moved = tf.transpose(tf.reshape(self.value, shape), order)
        return list(tf.unstack(moved if result is None else tf.reshape(moved, result)))


Rule = Callable[[Use], tuple[Factors, ...]]
"""From a use to factors that together hold every weight once: each lane's numbers are spread over them in any order,
but in the same one for all uses of a weight."""

Compute = Callable[..., Any]
"""Computes a layer's output: ``compute(layer, follow, *args, **kwargs)`` calls ``follow(weight, input, output)``, the
weight by the name of its attribute, for the input and the output of every operation that has a rule."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A layer type whose weights have rules.

    Parameters
    ----------
    type : type
        The layer type.
    rules : dict of str to callable
        For each weight, by the name of its attribute, from a `Use` to its factors.
    compute : callable or None
        How to compute the layer's output where a weight's input or output is hidden inside. None: the first input
        and the output before the activation are what the rules take.
    """

    type: type
    rules: dict[str, Rule]
    compute: Compute | None = None


ENTRIES: LayerTypes[Entry] = LayerTypes()
"""What is known so far."""


def rule_for(*types: type, parameter: str = "kernel") -> Callable[[Rule], Rule]:
    """Declare the rule of a weight of some layer types."""

    def decorate(rule: Rule) -> Rule:
        for layer_type in types:
            entry = ENTRIES.own(layer_type) or Entry(layer_type, {})
            ENTRIES.declare([layer_type], replace(entry, rules={**entry.rules, parameter: rule}))
        return rule

    return decorate


def compute(*types: type) -> Callable[[Compute], Compute]:
    """Declare how some layer types' output is computed with every weight's input and output in view."""

    def decorate(function: Compute) -> Compute:
        for layer_type in types:
            entry = ENTRIES.own(layer_type) or Entry(layer_type, {})
            ENTRIES.declare([layer_type], replace(entry, compute=function))
        return function

    return decorate


def register(
    *types: type, kind: str = "channels", parameter: str = "kernel", axes: Sequence[int] | None = (-1,)
) -> Callable[[Rule], Rule]:
    """Register a rule for layer types of one's own.

    Subclasses of Keras's layers need none, whatever their own ``call`` does before and after Keras's. The rule sees
    the layer's first input and the gradient of its output; where the layer has an ``activation`` and calls it, of
    what goes into it.

    Parameters
    ----------
    *types : type
        Layer types.
    kind : str
        The kind of units they hold.
    parameter : str
        Name of the attribute that holds the weight.
    axes : tuple of int, or None
        Axes of the weight that number the units; None for all, so that every number is a unit.

    Returns
    -------
    callable
        Decorator for the rule.

    Examples
    --------
    >>> import keras
    >>> class Scale(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
    ...     def call(self, x):
    ...         return x * self.gamma
    >>> @register(Scale, kind="scales", parameter="gamma")
    ... def scale(use):
    ...     # n sample, q position, c channel: γ's gradient is Σ_q g x
    ...     shape = (use.a.shape[0], -1, use.a.shape[-1])
    ...     return (Diagonal(keras.ops.reshape(use.g, shape), keras.ops.reshape(use.a, shape), use.value),)
    """

    def decorate(rule: Rule) -> Rule:
        holds(*types, kind=kind)(single(parameter, axes))
        return rule_for(*types, parameter=parameter)(rule)

    return decorate
