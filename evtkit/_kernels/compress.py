"""Copying the values of a row that are at least as large as a pivot, in their order: the innermost step of selection.

Scalar code does less than an element a cycle. Where the processor has AVX-512, LLVM's vector compress does a register
of them in a few cycles, seven times as fast; elsewhere its expansion would be slower than scalar code. AVX2 permutes a
register, after a table that the comparison's bits point into. All give the same result.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from evtkit._kernels.jit import kernel

_REGISTER = 64  # bytes
_COUNTED = 1 << 30  # values that a 32-bit number counts
WIDTH = 16
"""Room that `out` must have behind the values kept: whole vectors are written."""

_FEATURES = llvmlite.binding.get_host_cpu_features()
_OWN = not (getattr(config, "CPU_NAME", None) or getattr(config, "CPU_FEATURES", None))  # not for another processor

HAS_COMPRESS = _OWN and llvmlite.binding.llvm_version_info >= (19,) and bool(_FEATURES.get("avx512f", False))
HAS_PERMUTE = _OWN and bool(_FEATURES.get("avx2", False)) and bool(_FEATURES.get("popcnt", False))


@intrinsic
def _compress(
    typingctx: Any, x: types.Array, start: types.Integer, pivot: types.Float, out: types.Array, count: types.Integer
) -> Any:
    """Write those of a register of x from `start` that are ≥ pivot to out[count:], overwriting a register there.

    Returns the new count. Vectors of other sizes than a register are not compiled soundly.
    """
    scalar, size, suffix = (ir.FloatType(), 4, "f32") if x.dtype == types.float32 else (ir.DoubleType(), 8, "f64")
    lanes = _REGISTER // size

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, start, pivot, target, count = arguments
        vector, mask = ir.VectorType(scalar, lanes), ir.VectorType(ir.IntType(1), lanes)
        lane, undefined = ir.IntType(32), ir.Constant(vector, ir.Undefined)

        def address(array: Any, index: Any, position: int) -> Any:
            data = context.make_array(signature.args[position])(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        values = builder.load(address(source, start, 0))
        values.align = size
        first = builder.insert_element(undefined, pivot, ir.Constant(lane, 0))
        pivots = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(lane, lanes), [0] * lanes))
        kept = builder.fcmp_ordered(">=", values, pivots)
        name = f"llvm.experimental.vector.compress.v{lanes}{suffix}"
        function = ir.FunctionType(vector, [vector, mask, vector])
        compress = cgutils.get_or_insert_function(builder.module, function, name)
        store = builder.store(builder.call(compress, [values, kept, undefined]), address(target, count, 3))
        store.align = size
        number = builder.ctpop(builder.bitcast(kept, ir.IntType(lanes)))
        return builder.add(count, builder.zext(number, count.type))

    return types.intp(x, types.intp, x.dtype, out, types.intp), build


@intrinsic
def _permute(
    typingctx: Any, x: types.Array, start: types.Integer, pivot: types.Float, out: types.Array, count: types.Integer
) -> Any:
    """As `_compress`, for registers of half the size."""
    words = 8
    scalar, size = (ir.FloatType(), 4) if x.dtype == types.float32 else (ir.DoubleType(), 8)
    lanes, parts = words * 4 // size, size // 4  # a number is one or two words
    word, byte, index = ir.IntType(32), ir.IntType(8), ir.IntType(64)
    orders = []
    for bits in range(1 << lanes):
        kept = [lane * parts + part for lane in range(lanes) if bits >> lane & 1 for part in range(parts)]
        orders.append(kept + [0] * (words - len(kept)))

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, start, pivot, target, count = arguments
        vector, order, plain = (
            ir.VectorType(scalar, lanes),
            ir.VectorType(word, words),
            ir.VectorType(ir.FloatType(), 8),
        )
        undefined = ir.Constant(vector, ir.Undefined)
        form = ir.ArrayType(order, len(orders))
        table = cgutils.global_constant(
            builder, f"orders_{size}", ir.Constant(form, [ir.Constant(order, each) for each in orders])
        )
        table.align = 32

        def address(array: Any, place: Any, position: int) -> Any:
            data = context.make_array(signature.args[position])(context, builder, array).data
            return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

        values = builder.load(address(source, start, 0))
        values.align = size
        first = builder.insert_element(undefined, pivot, ir.Constant(word, 0))
        pivots = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(word, lanes), [0] * lanes))
        kept = builder.bitcast(builder.fcmp_ordered(">=", values, pivots), ir.IntType(lanes))
        kept = builder.zext(kept, byte) if lanes < 8 else kept
        places = builder.load(builder.gep(table, [ir.Constant(index, 0), builder.zext(kept, index)]))
        permute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(plain, [plain, order]), "llvm.x86.avx2.permps"
        )
        packed = builder.call(permute, [builder.bitcast(values, plain), places])
        store = builder.store(builder.bitcast(packed, vector), address(target, count, 3))
        store.align = size
        return builder.add(count, builder.zext(builder.ctpop(kept), count.type))

    return types.intp(x, types.intp, x.dtype, out, types.intp), build


_append, _BYTES = (_compress, _REGISTER) if HAS_COMPRESS else (_permute, _REGISTER // 2)


def _keep_vectors(x, n, pivot, out):
    lanes = _BYTES // x.itemsize
    count, whole = 0, n // lanes * lanes
    for i in range(0, whole, lanes):
        count = _append(x, i, pivot, out, count)
    for i in range(whole, n):
        value = x[i]
        out[count] = value
        count += value >= pivot
    return count


def _keep_one_by_one(x, n, pivot, out):
    count = 0
    for i in range(n):
        value = x[i]
        out[count] = value
        count += value >= pivot
    return count


_SIGNATURES = ("intp(float32[::1], intp, float32, float32[::1])", "intp(float64[::1], intp, float64, float64[::1])")

_fastest = _keep_vectors if HAS_COMPRESS or HAS_PERMUTE else _keep_one_by_one

keep_from = kernel(*_SIGNATURES)(_fastest)
"""keep_from(x, n, pivot, out): copy those of the first n values of x that are ≥ pivot to out, in order; their number.

`out` needs `WIDTH` slots more than are kept, and may be x itself. NaN is never kept.
"""


@kernel("intp(float32[::1], intp, float32)", "intp(float64[::1], intp, float64)")
def count_from(x, n, pivot):
    """How many of the first n values of x are ≥ pivot, counted in 32 bits: twice as many at once."""
    count = 0
    for start in range(0, n, _COUNTED):
        some = np.int32(0)
        for i in range(start, min(n, start + _COUNTED)):
            some = np.int32(some + np.int32(x[i] >= pivot))
        count += some
    return count
