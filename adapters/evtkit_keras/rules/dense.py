"""Dense layers, over single vectors, sequences, or any axes of an einsum.

Letters: n sample, t position, o output feature, i input feature. Per-sample gradient W[n, i, o] = Σ_t a[n, t, i]
g[n, t, o].
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from evtkit.saliency.adapting import Block
from evtkit_keras.layers import einsum_letters
from evtkit_keras.rules.registry import Use, rule_for


@rule_for(keras.layers.Dense)
def dense(use: Use) -> tuple[Block, ...]:
    """Outer product of gradient and input, summed over positions; lanes along the input exchange the two."""
    a, g = (tf.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])) for x in (use.a, use.g))
    order = (0, 1, 3, 2)
    if use.axes == (0,):
        a, g, order = g, a, (0, 1, 2, 3)
    (own,) = use.arranged((1, 1, *use.weight), order)
    return (Block(tf.transpose(g, (0, 2, 1))[:, None], a[:, None], own),)


@rule_for(keras.layers.EinsumDense)
def einsum(use: Use) -> tuple[Block, ...]:
    """Sort the equation's letters: those of the lanes make the rows, the weight's others the columns.

    A letter of the weight that input and output have too is a group. Letters that the weight lacks are positions; one
    that the output lacks as well was summed before.
    """
    inputs, weight, output = _all_letters(use)
    a, g = use.a, use.g
    batch = inputs[0]
    summed = [axis for axis, letter in enumerate(inputs) if letter not in weight + output]
    if summed:
        a = tf.reduce_sum(a, summed)
        inputs = "".join(letter for letter in inputs if letter in weight + output)
    positions = [letter for letter in output if letter not in weight and letter != batch]
    lanes = [weight[axis] for axis in use.axes]
    groups = [letter for letter in lanes if letter in inputs and letter in output]
    unused = [letter for letter in weight if letter not in inputs + output]
    apart = [letter for letter in weight if letter in inputs and letter in output and letter not in groups]
    if unused or apart or lanes[: len(groups)] != groups:
        raise RuntimeError(
            "an equation must have every letter of the weight in input or output, and those in both in front of the "
            f"lanes, got {use.layer.equation!r} and lanes along {', '.join(lanes)}"
        )
    rows = [letter for letter in lanes if letter not in groups]
    side, other = (output, inputs) if all(letter in output for letter in rows) else (inputs, output)
    rows += [letter for letter in weight if letter in side and letter not in rows + groups]
    columns = [letter for letter in weight if letter in other and letter not in groups]
    left, right = (g, a) if side is output else (a, g)
    parts = (groups, rows, columns)
    order = (0, *(1 + weight.index(letter) for part in parts for letter in part))
    sizes = (math.prod(use.weight[weight.index(letter)] for letter in part) for part in parts)
    (own,) = use.arranged((1, *use.weight), order, (1, *sizes))
    return (
        Block(
            _arranged(left, side, batch, groups, rows, positions),
            _arranged(right, other, batch, groups, positions, columns),
            own,
        ),
    )


def _arranged(x: Any, letters: str, batch: str, *parts: list[str]) -> Any:
    """Transpose x to (batch, *parts), each part flattened; a position that x lacks has been broadcast over it."""
    sizes = dict(zip(letters, x.shape, strict=True))
    order = [batch, *(letter for part in parts for letter in part)]
    x = tf.transpose(x, [letters.index(letter) for letter in order])
    return tf.reshape(x, (sizes[batch], *(math.prod(sizes[letter] for letter in part) for part in parts)))


def _all_letters(use: Use) -> tuple[str, str, str]:
    """Letters of input, weight and output, with letters for what an ellipsis stands for."""
    inputs, weight, output = einsum_letters(use.layer.equation)
    if "..." not in use.layer.equation:
        return inputs, weight, output
    spare = [chr(code) for code in range(ord("A"), ord("Z") + 1) if chr(code) not in inputs + weight + output]
    hidden = "".join(spare[: len(use.a.shape) - len(inputs)])
    left, right = use.layer.equation.replace(" ", "").split("->")
    before = left.startswith("...")
    inputs = hidden + inputs if before else inputs + hidden
    return inputs, weight, hidden + output if right.startswith("...") else output + hidden
