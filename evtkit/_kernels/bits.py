"""Values by their bits, new arrays, arrays as one row, and copies: in place, where NumPy's way compiles helpers."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.extending import intrinsic
from numba.np.arrayobj import _empty_nd_impl, populate_array

__all__ = ["assign", "bits_of", "empty", "flat", "number_of"]


@intrinsic
def bits_of(typingctx: Any, x: Any) -> Any:
    """The bits of a float64, as an int64."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), build


@intrinsic
def number_of(typingctx: Any, bits: Any) -> Any:
    """The float64 that has these bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), build


@intrinsic
def empty(typingctx: Any, shape: Any) -> Any:
    """A new array of float64; its shape is a number or a tuple of numbers."""
    sizes = tuple(shape) if isinstance(shape, types.BaseTuple) else (shape,)
    if not all(isinstance(one, types.Integer) for one in sizes):
        return None
    kind = types.Array(types.float64, len(sizes), "C")

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (given,) = arguments
        numbers = cgutils.unpack_tuple(builder, given) if isinstance(shape, types.BaseTuple) else [given]
        words = [context.cast(builder, one, size, types.intp) for one, size in zip(numbers, sizes, strict=True)]
        made = _empty_nd_impl(context, builder, kind, words)._getvalue()
        return impl_ret_new_ref(context, builder, kind, made)

    return kind(shape), build


@intrinsic
def flat(typingctx: Any, z: Any) -> Any:
    """A contiguous array as one of a single axis, of the same memory."""
    kind = types.Array(z.dtype, 1, "C", readonly=not z.mutable, aligned=z.aligned)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (whole,) = signature.args
        given, array = (
            context.make_array(whole)(context, builder, arguments[0]),
            context.make_array(kind)(context, builder),
        )
        populate_array(array, data=given.data, shape=[given.nitems], strides=[given.itemsize], itemsize=given.itemsize,
                       meminfo=given.meminfo, parent=given.parent)  # fmt: skip
        return impl_ret_borrowed(context, builder, kind, array._getvalue())

    return (kind(z), build) if z.layout == "C" else None


@intrinsic
def assign(typingctx: Any, to: Any, source: Any) -> Any:
    """Copy a contiguous array into another one of its type and size."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        left, right = (
            context.make_array(kind)(context, builder, one) for kind, one in zip(kinds, arguments, strict=True)
        )
        cgutils.raw_memmove(builder, left.data, right.data, left.nitems, left.itemsize)
        return context.get_dummy_value()

    fits = to.layout == source.layout == "C" and to.dtype == source.dtype and to.ndim == source.ndim and to.mutable
    return (types.void(to, source), build) if fits else None
