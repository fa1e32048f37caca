"""Sums in eight lanes: an order of additions that is written out, and that fills vector registers.

A compiler may only use vectors for a sum if it may reorder it, and then different compilations sum differently. So
kernels add into eight lanes, element by element, and add up the lanes in one fixed order at the end.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

LANES = 8


@intrinsic
def lanes(typingctx: Any) -> Any:
    """Eight zeros on the stack, for the kernel that calls this alone: never returned, never passed on."""
    kind = types.Array(types.float64, 1, "C")

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(ir.DoubleType(), LANES))
        place.align = 8 * LANES
        builder.store(ir.Constant(place.type.pointee, None), place)
        array = context.make_array(kind)(context, builder)
        size, step = context.get_constant(types.intp, LANES), context.get_constant(types.intp, 8)
        data = builder.bitcast(place, ir.DoubleType().as_pointer())
        populate_array(array, data=data, shape=[size], strides=[step], itemsize=step, meminfo=None)
        return array._getvalue()

    return kind(), build


@intrinsic
def total(typingctx: Any, x: Any) -> Any:
    """The sum of eight lanes: ((x₀ + x₁) + (x₂ + x₃)) + ((x₄ + x₅) + (x₆ + x₇))."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        sums = [builder.load(cgutils.gep_inbounds(builder, data, lane)) for lane in range(LANES)]
        while len(sums) > 1:
            sums = [builder.fadd(left, right) for left, right in zip(sums[::2], sums[1::2], strict=True)]
        return sums[0]

    return types.float64(x), build
