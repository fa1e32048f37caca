"""Blocks of observations × channels, turned over a tile at a time: rows of a tile are channels.

A tile is wide enough for memory to be read in long pieces, and small enough to stay in the second cache until all that
is wanted of it has been done. What is read is small squares, a vector register a row, turned over by shuffles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from evtkit._kernels.binned import extent, value_of
from evtkit._kernels.bits import bits_of, number_of
from evtkit._kernels.jit import kernel

CHANNELS, ROWS = 64, 512
WIDE = ROWS + 16  # of a tile's rows: room for whole vectors, and no power of two between channels

LINE = 64  # bytes of memory that are read together
_REGISTER = 32  # bytes


def any_block(number: Any) -> Any:
    """A block as users have them: read-only and strided."""
    return types.Array(number, 2, "A", readonly=True)


@intrinsic
def _square(
    typingctx: Any,
    block: Any,
    row: Any,
    channel: Any,
    factor: Any,
    tile: Any,
    at: Any,
    column: Any,
    high: Any,
    low: Any,
) -> Any:
    """Write factor · block[row:row + L, channel:channel + L] + 0 to tile[at:at + L, column:column + L], turned over.

    L numbers fill a register. high[at:at + L] becomes the larger in magnitude, by its bits, and low the smaller value.
    """
    scalar, size, name = (ir.FloatType(), 4, "f32") if block.dtype == types.float32 else (ir.DoubleType(), 8, "f64")
    lanes = _REGISTER // size
    vector, bits = ir.VectorType(scalar, lanes), ir.VectorType(ir.IntType(8 * size), lanes)
    word = ir.IntType(64)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, top, first, times, out, to, start, largest, least = arguments
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip((block, tile, high, low), (given, out, largest, least), strict=True)
        ]

        def address(array: Any, *place: Any) -> Any:
            steps = cgutils.unpack_tuple(builder, array.strides)
            offset = ir.Constant(word, 0)
            for index, step in zip(place, steps, strict=True):
                offset = builder.add(offset, builder.mul(index, step))
            plain = builder.bitcast(array.data, ir.IntType(8).as_pointer())
            return builder.bitcast(builder.gep(plain, [offset]), vector.as_pointer())

        def load(array: Any, *place: Any) -> Any:
            found = builder.load(address(array, *place))
            found.align = size
            return found

        def store(value: Any, array: Any, *place: Any) -> None:
            builder.store(value, address(array, *place)).align = size

        def shuffled(one: Any, other: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), lanes), places))

        def after(index: Any, k: int) -> Any:
            return builder.add(index, ir.Constant(word, k))

        many = shuffled(builder.insert_element(ir.Constant(vector, ir.Undefined), times, ir.Constant(word, 0)),
                        ir.Constant(vector, ir.Undefined), [0] * lanes)  # fmt: skip
        nought = ir.Constant(vector, [0.0] * lanes)
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.fabs.v{lanes}{name}"
        )
        multiply = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}{name}"
        )
        rows = [builder.call(multiply, [load(arrays[0], after(top, k), first), many, nought]) for k in range(lanes)]
        top_bits, bottom = builder.bitcast(load(arrays[2], to), bits), load(arrays[3], to)
        for one in rows:
            magnitude = builder.bitcast(builder.call(absolute, [one]), bits)
            top_bits = builder.select(builder.icmp_signed(">", magnitude, top_bits), magnitude, top_bits)
            bottom = builder.select(builder.fcmp_ordered("<", one, bottom), one, bottom)
        store(builder.bitcast(top_bits, vector), arrays[2], to)
        store(bottom, arrays[3], to)
        width, half = 1, lanes // 2
        while width < half:  # within the halves of a register, as processors interleave
            turned = list(rows)
            for k in range(0, lanes, 2 * width):
                for j in range(width):
                    pair = rows[k + j], rows[k + j + width]
                    for high_half in (0, 1):
                        chosen = range(high_half * half // 2, (high_half + 1) * half // 2, width)
                        places = [source + part + i + w for part in (0, half) for i in chosen for source in (0, lanes)
                                  for w in range(width)]  # fmt: skip
                        turned[k + 2 * j + high_half] = shuffled(*pair, places)
            rows, width = turned, 2 * width
        for k in range(half):  # and the halves
            pair, front = (rows[k], rows[k + half]), list(range(half))
            rows[k] = shuffled(*pair, front + [lanes + j for j in front])
            rows[k + half] = shuffled(*pair, [half + j for j in front] + [lanes + half + j for j in front])
        for k, one in enumerate(rows):
            store(one, arrays[1], after(to, k), start)
        return context.get_dummy_value()

    return types.void(block, types.intp, types.intp, block.dtype, tile, types.intp, types.intp, high, low), build


@intrinsic
def fetch(typingctx: Any, x: Any, row: Any, column: Any) -> Any:
    """Ask memory for the line that holds x[row, column], which is wanted soon; to write there, if x can be written."""
    byte, number = ir.IntType(8), ir.IntType(32)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(x)(context, builder, arguments[0])
        down, across = cgutils.unpack_tuple(builder, array.strides)
        offset = builder.add(builder.mul(arguments[1], down), builder.mul(arguments[2], across))
        place = builder.gep(builder.bitcast(array.data, byte.as_pointer()), [offset])
        form = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        ask = cgutils.get_or_insert_function(builder.module, form, "llvm.prefetch")
        builder.call(ask, [place, ir.Constant(number, int(x.mutable)), ir.Constant(number, 3), ir.Constant(number, 1)])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), build


@intrinsic
def _column(typingctx: Any, block: Any, row: Any, channel: Any, rows: Any) -> Any:
    """block[row:row + rows, channel] as a contiguous array, where observations of a channel are neighbours."""
    kind = types.Array(block.dtype, 1, "C", readonly=True)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, top, first, size = arguments
        source = context.make_array(block)(context, builder, given)
        array = context.make_array(kind)(context, builder)
        down, across = cgutils.unpack_tuple(builder, source.strides)
        offset = builder.add(builder.mul(top, down), builder.mul(first, across))
        plain = builder.gep(builder.bitcast(source.data, ir.IntType(8).as_pointer()), [offset])
        populate_array(array, data=builder.bitcast(plain, source.data.type), shape=[size], strides=[source.itemsize],
                       itemsize=source.itemsize, meminfo=None)  # fmt: skip
        return array._getvalue()

    return kind(block, types.intp, types.intp, types.intp), build


@kernel(*(
    types.void(types.Array(one, 1, "C", readonly=True), types.intp, one, one[:, ::1], one[::1], one[::1])
    for one in (types.float32, types.float64)
))  # fmt: skip
def _put_column(x, c, factor, tile, high, low):
    """Write factor · x + 0 to a row of a tile; high and low as in `turn_over`."""
    row, nought = tile[c], low.dtype.type(0)
    for r in range(x.size):
        row[r] = factor * x[r] + nought
    largest, smallest = extent(row, x.size)
    if largest > bits_of(np.float64(high[c])):
        high[c] = number_of(largest)
    if value_of(smallest) < low[c]:
        low[c] = value_of(smallest)


@kernel("void(float32[:, ::1], intp, intp, float32, float32[::1], float32[::1])",
        "void(float64[:, ::1], intp, intp, float64, float64[::1], float64[::1])", inline=True)  # fmt: skip
def _put(tile, c, r, value, high, low):
    tile[c, r] = value
    if bits_of(np.float64(abs(value))) > bits_of(np.float64(high[c])):
        high[c] = abs(value)
    if value < low[c]:
        low[c] = value


@kernel(*(
    types.boolean(any_block(one), types.intp, types.intp, types.intp, types.intp, one, one[:, ::1], one[::1], one[::1])
    for one in (types.float32, types.float64)
))  # fmt: skip
def turn_over(block, top, rows, first, width, factor, tile, high, low):
    """Turn factor · block[top:top + rows, first:first + width] over into a tile; zeros lose their sign.

    high and low, of the channels of the tile, become the largest magnitude and the smallest value, if those are beyond
    them. Returns whether all is finite.
    """
    lanes, nought = _REGISTER // block.itemsize, low.dtype.type(0)
    whole_rows, whole = rows // lanes * lanes, width // lanes * lanes
    if block.strides[0] == block.itemsize:  # nothing to turn over: tables by columns, and a single channel
        for c in range(width):
            _put_column(_column(block, top, first + c, rows), c, factor, tile, high, low)
        whole_rows, whole, rows = 0, 0, 0
    if block.strides[1] != block.itemsize or whole == 0:
        whole_rows, whole = 0, 0
    for r in range(0, whole_rows, lanes):
        if r + 3 * lanes <= whole_rows:  # rows lie far apart, so that no processor foresees the next
            for k in range(top + r + 2 * lanes, top + r + 3 * lanes):
                for c in range(first, first + whole, LINE // block.itemsize):
                    fetch(block, k, c)
        for c in range(0, whole, lanes):
            _square(block, top + r, first + c, factor, tile, c, r, high, low)
    for c in range(whole, width):
        for r in range(whole_rows):
            _put(tile, c, r, factor * block[top + r, first + c] + nought, high, low)
    for c in range(width):
        for r in range(whole_rows, rows):
            _put(tile, c, r, factor * block[top + r, first + c] + nought, high, low)
    finite = True
    for c in range(width):
        finite &= high[c] < np.inf
    return finite
