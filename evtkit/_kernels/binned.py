"""Sums of values and of their squares that no order of the values can change.

Floating-point sums depend on their order because each addition rounds. Here every value is first cut into three slices
of 25 bits, at places that are the same for all values (Demmel & Nguyen 2015): with a bin I so that |x| < 2^(25 I − 1),

    x = (h + m 2⁻²⁵ + s 2⁻⁵⁰) 2^(25 I − 25) + what lies below 2^(25 I − 75), rounded away,

h, m and s being whole numbers of at most 2²⁴. Sums of them and of their products are sums of whole numbers, exact in
any order. A larger value raises the bin; slices then move to the next place, and the last ones drop out, as they would
have if the bin had been there from the first value on. So the sums are a function of the set of values alone, and each
value counts to within 2⁻⁵⁰ of the largest magnitude, or better.

A row of state is the bin and, for each of h, m, s, hh, hm, hs, mm, ms and ss, a low part of 40 bits and a high part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from evtkit._kernels.bits import bits_of, number_of
from evtkit._kernels.jit import kernel

SLICE = 25
LOWEST, HIGHEST = -40, 41  # bins: of the smallest, and of the largest numbers
LOW_BITS = 40
STATE = 19  # numbers in a row of state

# Adding such a number rounds to a whole number of units, which then stands in the last bits; units are 1, 2⁻²⁵, 2⁻⁵⁰, …
_MAGIC, _MAGIC_1, _MAGIC_2, _MAGIC_3, _MAGIC_4 = (1.5 * 2.0 ** (52 - SLICE * k) for k in range(5))
_BITS, _BITS_1, _BITS_2, _BITS_3, _BITS_4 = (
    np.int64(np.float64(magic).view(np.int64)) for magic in (_MAGIC, _MAGIC_1, _MAGIC_2, _MAGIC_3, _MAGIC_4)
)
_INFINITY = np.int64(0x7FF0000000000000)  # its bits
_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)
_LOW = np.int64((1 << LOW_BITS) - 1)
_MOST = 8192  # values whose sums fit into 63 bits
_WIDEST = np.int64(1000)  # power of two that values are multiplied by at once


@kernel("UniTuple(int64, 2)(float32[::1], intp)", "UniTuple(int64, 2)(float64[::1], intp)")
def extent(x, n):
    """Bits of the largest magnitude, and the smallest value as a whole number that orders as values do."""
    largest, smallest = np.int64(0), _MAGNITUDE
    for i in range(n):
        bits = bits_of(np.float64(x[i]))
        magnitude = bits & _MAGNITUDE
        largest = magnitude if magnitude > largest else largest
        key = bits ^ ((bits >> 63) & _MAGNITUDE)
        smallest = key if key < smallest else smallest
    return largest, smallest


@kernel("float64(int64)", inline=True)
def value_of(key):
    """The value that such a whole number stands for."""
    return number_of(key ^ ((key >> 63) & _MAGNITUDE))


@kernel("boolean(int64)", inline=True)
def is_finite(largest):
    """Whether the largest magnitude is a number."""
    return largest < _INFINITY


@kernel("int64(int64)", inline=True)
def bin_of(largest):
    """The bin of values whose largest magnitude has these bits."""
    return max(np.int64(LOWEST), ((largest >> 52) - 1021 + SLICE - 1) // SLICE)


@kernel("void(int64[::1], int64)")
def raise_bin(row, place):
    """Bring a row of state to a higher bin."""
    steps = place - row[0]
    row[0] = place
    if steps == 1:  # ss, ms, mm, s, m ← mm, hm, hh, m, h
        for k in range(2):
            row[17 + k], row[15 + k], row[13 + k] = row[13 + k], row[9 + k], row[7 + k]
            row[5 + k], row[3 + k] = row[3 + k], row[1 + k]
            row[1 + k] = row[7 + k] = row[9 + k] = row[11 + k] = 0
        return
    for k in range(2):
        square, linear = row[7 + k], row[1 + k]
        for i in range(1 + k, STATE, 2):
            row[i] = 0
        if steps == 2:  # ss, s ← hh, h
            row[17 + k], row[5 + k] = square, linear


@intrinsic
def _is_double(typingctx: Any, x: Any) -> Any:
    """Whether an array is of float64, known when a kernel is compiled."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.boolean, x.dtype == types.float64)

    return types.boolean(x), build


@kernel("void(float32[::1], intp, int64, int64[::1])", "void(float64[::1], intp, int64, int64[::1])", fused=True)
def add_values(x, n, place, row):
    """Add the first n of x, which fit into the bin `place`, to a row of state.

    Four products are added up before they are read as a whole number: they are below 2⁴⁸ units, and 2⁵¹ are exact. A
    float32 has 24 bits, and so h or s of it is 0.
    """
    if place > row[0]:
        raise_bin(row, place)
    power = np.int64(SLICE - SLICE * row[0])
    rest, double = max(power - _WIDEST, np.int64(0)), _is_double(x)  # in the lowest bin a float32 is 0
    first, second = number_of((power - rest + 1023) << 52), number_of((rest + 1023) << 52)
    for start in range(0, n, _MOST):
        size = min(n - start, _MOST)
        part = size // 4
        h, m, s = np.int64(0), np.int64(0), np.int64(0)
        hh, hm, hs = np.int64(0), np.int64(0), np.int64(0)
        mm, ms, ss = np.int64(0), np.int64(0), np.int64(0)
        for i in range(part):
            p_p, p_q, p_w, q_q, q_w, w_w = _MAGIC, _MAGIC_1, _MAGIC_2, _MAGIC_2, _MAGIC_3, _MAGIC_4
            for k in range(4):
                v = np.float64(x[np.uint64(start + k * part + i)]) * first
                if double:
                    v *= second
                a = v + _MAGIC
                p = a - _MAGIC
                v = v - p
                b = v + _MAGIC_1
                q = b - _MAGIC_1
                c = (v - q) + _MAGIC_2
                w = c - _MAGIC_2
                h += bits_of(a)
                m += bits_of(b)
                s += bits_of(c)
                p_p += p * p
                p_q += p * q
                if double:
                    p_w += p * w
                q_q += q * q
                q_w += q * w
                w_w += w * w
            hh += bits_of(p_p)
            hm += bits_of(p_q)
            hs += bits_of(p_w)
            mm += bits_of(q_q)
            ms += bits_of(q_w)
            ss += bits_of(w_w)
        for i in range(start + 4 * part, start + size):  # the up to three that are left: a call a value would cost more
            v = np.float64(x[i]) * first * second
            a = v + _MAGIC
            p = a - _MAGIC
            v = v - p
            b = v + _MAGIC_1
            q = b - _MAGIC_1
            c = (v - q) + _MAGIC_2
            w = c - _MAGIC_2
            h += bits_of(a)
            m += bits_of(b)
            s += bits_of(c)
            hh += bits_of(p * p + _MAGIC)
            hm += bits_of(p * q + _MAGIC_1)
            hs += bits_of(p * w + _MAGIC_2)
            mm += bits_of(q * q + _MAGIC_2)
            ms += bits_of(q * w + _MAGIC_3)
            ss += bits_of(w * w + _MAGIC_4)
        k = 1
        values, products = np.int64(size), np.int64(size - 3 * part)
        for found, magic, times in (
            (h, _BITS, values), (m, _BITS_1, values), (s, _BITS_2, values), (hh, _BITS, products),
            (hm, _BITS_1, products), (hs, _BITS_2, products), (mm, _BITS_2, products), (ms, _BITS_3, products),
            (ss, _BITS_4, products),
        ):  # fmt: skip
            low = row[k] + (found - times * magic)  # beyond 64 bits, as the sums are: the difference is right
            row[k], row[k + 1] = low & _LOW, row[k + 1] + (low >> LOW_BITS)
            k += 2
