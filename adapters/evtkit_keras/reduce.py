"""The one primitive: a batched product, absolute value (or square, or times the weight), sum over each row.

It is made for some samples at a time, and of a large one some rows.

This is the seam at which a fused kernel would go: `row_sums` is all that it would have to compute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from evtkit.saliency.adapting import Block
from evtkit_keras.rules import Diagonal, Whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit.saliency.adapting import Reduction
    from evtkit_keras.rules import Factors, Rule, Use

__all__ = ["Workspace", "lane_sums"]

_CPU_BYTES = 1 << 25  # factors and products at a time on a CPU; measured flat from 16 to 64 MiB, slower beyond


_OPTIONS = ("strides", "padding", "dilation_rate", "groups", "data_format", "equation", "axis")
"""Options of a layer on which the size of its factors may depend."""


class Workspace:
    """Memory that a reduction may use beyond the activations.

    Parameters
    ----------
    mib : float
        Bound in MiB. A CPU stays at 32 at most. One sample's factors and one row of one sample's product are the
        least that is ever made. The copy of a weight in the order of its product, for Taylor, is not counted.
    """

    def __init__(self, mib: float) -> None:
        self.bytes = int(mib * 2**20)
        if not tf.config.list_logical_devices("GPU"):
            self.bytes = min(self.bytes, _CPU_BYTES)
        self._known: dict[Any, int] = {}

    def of_one_sample(self, rule: Rule, use: Use, samples: int, dtype: Any) -> int:
        """Bytes of one sample's factors and the largest product of two of them, found by making them."""
        options = str([getattr(use.layer, option, None) for option in _OPTIONS])
        key = (rule, use.weight, use.axes, tuple(use.a.shape), tuple(use.g.shape), options)
        if key not in self._known:
            self._known[key] = _bytes(_blocks(rule, use, 0, 1, samples, dtype))
        return self._known[key]


def lane_sums(
    rules: Sequence[Rule], uses: Sequence[Use], samples: int, lanes: int, reduction: Reduction, workspace: Workspace
) -> Any:
    """Sum of every lane's absolute gradient, or its square, or its product with the weight: (samples, lanes).

    The uses are all those of one weight, each with its rule, and are added before anything else. What comes back has
    the dtype that they are added in.
    """
    dtype = tf.float64 if any(use.g.dtype == tf.float64 for use in uses) else tf.float32

    def some(start: Any, count: int) -> Any:
        blocks = [_blocks(rule, use, start, count, samples, dtype) for rule, use in zip(rules, uses, strict=True)]
        rows = row_sums(blocks, reduction, workspace.bytes)
        return tf.reduce_sum(tf.reshape(rows, (count, lanes, -1)), -1)

    one = sum(workspace.of_one_sample(rule, use, samples, dtype) for rule, use in zip(rules, uses, strict=True))
    parts = -(-samples // max(1, workspace.bytes // max(1, one)))
    count = -(-samples // parts)
    whole = samples // count
    if whole == 1:
        sums = [some(0, count)]
    elif tf.executing_eagerly():
        sums = [some(part * count, count) for part in range(whole)]
    else:
        array = tf.TensorArray(dtype, whole, element_shape=(count, lanes))
        _, array = tf.while_loop(
            lambda part, _: part < whole,
            lambda part, array: (part + 1, array.write(part, some(part * count, count))),
            (0, array),
            parallel_iterations=1,  # one part's memory at a time
        )
        sums = [tf.reshape(array.stack(), (whole * count, lanes))]
    if whole * count < samples:
        sums.append(some(whole * count, samples - whole * count))
    return sums[0] if len(sums) == 1 else tf.concat(sums, 0)


def row_sums(uses: Sequence[tuple[Factors, ...]], reduction: Reduction, limit: int) -> Any:
    """Σ_k |Σ_use left @ right| (or its square, or w · it) for every sample, group and row; shape (n, groups · rows).

    Letters: n sample, G group, r row, q position, k column. Of a product larger than the limit in bytes, some rows are
    made at a time.
    """
    total: Any = 0
    for factors in zip(*uses, strict=True):  # the uses of one part of the weight
        if reduction == "taylor":
            total += sum(_along_weight(part, limit) for part in factors)
            continue
        if isinstance(factors[0], Diagonal):
            total += _measured(sum(tf.reduce_sum(left * right, 1) for left, right, _ in factors), reduction)
            continue
        if isinstance(factors[0], Whole):
            total += tf.reduce_sum(_measured(sum(part.gradient for part in factors), reduction), 2)
            continue
        assert all(isinstance(block, Block) for block in factors)
        left, right, _ = factors[0]
        n, groups, rows, positions = left.shape
        if len(factors) == 1 and positions == 1:  # rank one: |g| · Σ|a|
            sums = _measured(left[..., 0], reduction) * tf.reduce_sum(_measured(right, reduction), 3)
        else:
            tall = max(1, limit // max(1, n * groups * right.shape[3] * left.dtype.size))
            pieces = []
            for start in range(0, rows, tall):
                here = slice(start, start + tall)
                product = sum(tf.matmul(lh[:, :, here] if tall < rows else lh, rh) for lh, rh, _ in factors)
                pieces.append(tf.reduce_sum(_measured(product, reduction), 3))
            sums = pieces[0] if len(pieces) == 1 else tf.concat(pieces, 2)
        total += tf.reshape(sums, (n, groups * rows))
    return total


def _along_weight(part: Factors, limit: int) -> Any:
    """Σ_qk left · right · w, shape (n, lanes) or (n, groups · rows).

    Without an absolute value the order is free, so by way of the positions, Σ_q left · (w @ rightᵀ), or of the product,
    Σ_k (left @ right) · w, whichever is smaller.
    """
    if part.weight is None:
        raise RuntimeError(
            f"a rule must have the weight in its factors, {type(part).__name__}(..., weight), for 'taylor', got none; "
            "or take another reduction"
        )
    weight = tf.cast(part.weight, part[0].dtype)
    if isinstance(part, Diagonal):
        return tf.reduce_sum(part.left * part.right, 1) * weight
    if isinstance(part, Whole):
        return tf.reduce_sum(part.gradient * weight, 2)
    left, right, _ = part
    n, groups, rows, positions = left.shape
    if positions == 1:
        return tf.reshape(left[..., 0] * tf.einsum("ngk,grk->ngr", right[:, :, 0], weight), (n, groups * rows))
    least = min(positions, right.shape[3])
    tall = max(1, limit // max(1, n * groups * least * left.dtype.size))
    pieces = []
    for start in range(0, rows, tall):
        here = slice(start, start + tall)
        lh, w = (left[:, :, here], weight[:, here]) if tall < rows else (left, weight)
        product = lh * tf.matmul(w, right, transpose_b=True) if least == positions else w * tf.matmul(lh, right)
        pieces.append(tf.reduce_sum(product, 3))
    return tf.reshape(pieces[0] if len(pieces) == 1 else tf.concat(pieces, 2), (n, groups * rows))


def _measured(x: Any, reduction: Reduction) -> Any:
    return tf.abs(x) if reduction == "mean-abs" else tf.square(x)


def _blocks(rule: Rule, use: Use, start: Any, count: int, samples: int, dtype: Any) -> tuple[Factors, ...]:
    """Factors of some samples; a sequence folded into the batch becomes further positions."""
    fold = use.g.shape[0] // samples
    a, g = (_rows(x, start * fold, count * fold) for x in (use.a, use.g))
    factors = rule(use.with_tensors(tf.cast(a, dtype) if a.dtype.is_floating else a, tf.cast(g, dtype)))
    return factors if fold == 1 else tuple(_unfolded(part, count) for part in factors)


def _rows(x: Any, start: Any, count: int) -> Any:
    if count == x.shape[0]:
        return x
    rank = len(x.shape)
    return tf.slice(x, [start, *[0] * (rank - 1)], [count, *x.shape[1:]])


def _unfolded(factors: Factors, n: int) -> Factors:
    if isinstance(factors, Diagonal):
        left, right = (tf.reshape(part, (n, -1, part.shape[2])) for part in factors[:2])
        return Diagonal(left, right, factors.weight)
    if isinstance(factors, Whole):
        gradient = tf.reshape(factors.gradient, (n, -1, *factors.gradient.shape[1:]))
        return Whole(tf.reduce_sum(gradient, 1), factors.weight)
    left, right = (tf.reshape(part, (n, -1, *part.shape[1:])) for part in factors[:2])  # (n, t, G, ...)
    left, right = tf.transpose(left, (0, 2, 3, 1, 4)), tf.transpose(right, (0, 2, 1, 3, 4))
    left, right = tf.reshape(left, (*left.shape[:3], -1)), tf.reshape(right, (*right.shape[:2], -1, right.shape[4]))
    return Block(left, right, factors.weight)


def _bytes(factors: Sequence[Factors]) -> int:
    """Bytes that factors, without the weight, and the largest product of one of them hold."""
    made = {id(part): part for pair in factors for part in pair if part is not pair.weight}
    held = sum(math.prod(part.shape) * part.dtype.size for part in made.values())
    sizes = [
        math.prod(part.left.shape[:3]) * part.right.shape[3]
        for part in factors
        if isinstance(part, Block) and part.left.shape[3] > 1
    ]
    return int(held + max(sizes, default=0) * factors[0][0].dtype.size)
