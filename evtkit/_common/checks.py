"""Checks that arguments are what they must be."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.frames import unlabelled
from evtkit._common.text import shortened

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["as_columns", "is_share", "real_array", "whole_number"]


def is_share(value: Any) -> bool:
    """Whether a value is a number strictly between 0 and 1.

    Examples
    --------
    >>> is_share(0.01), is_share("0.01"), is_share(None), is_share(float("nan"))
    (True, False, False, False)
    """
    return isinstance(value, Real) and 0.0 < float(value) < 1.0


def real_array(values: ArrayLike, name: str, *, narrow: bool = False) -> NDArray[Any]:
    """Values as an array of floats, in this machine's byte order; float32 stays float32, all else becomes float64.

    Parameters
    ----------
    values : array_like
        Numbers; also a data frame, a tensor on the CPU, or a masked array. What is masked, or None, becomes NaN.
    name : str
        What messages call them.
    narrow : bool
        Make 8- and 16-bit integers float32, which holds each of them exactly.

    Raises
    ------
    ValueError
        If they are no real numbers, or cannot be made an array.

    Examples
    --------
    >>> real_array(np.ma.array([1, 2, 3], mask=[False, True, False]), "x")
    array([ 1., nan,  3.])
    """
    given = unlabelled(values, name)
    if isinstance(given, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in given):
        given = np.ma.array(given)
    try:
        array = np.asarray(given)
    except Exception as error:  # what an object's own conversion raises is its own choice
        raise ValueError(f"{name} must be real numbers, got {_kind(given)}: {shortened(error)}") from error
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "O" and any(isinstance(one, str | bytes) for one in array.flat):
        raise ValueError(f"{name} must be real numbers, got text")
    if kind not in "iuf" and not (kind == "O" and array.size):
        raise ValueError(f"{name} must be real numbers, got an array of dtype {shortened(array.dtype)}")
    small = (kind == "f" and size <= 4) or (narrow and kind in "iu" and size <= 2)
    try:
        array = array.astype(np.float32 if small else np.float64, copy=False)
    except (TypeError, ValueError, OverflowError):
        first = array.flat[0]
        raise ValueError(f"{name} must be real numbers, got {shortened(repr(first))} of {_kind(first)}") from None
    if isinstance(given, np.ma.MaskedArray):
        array = np.where(np.ma.getmaskarray(given), array.dtype.type(np.nan), array)
    return array


def as_columns(values: NDArray[Any], axis: int, name: str) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Values as (observations, channels), and the shape of the channels.

    Raises
    ------
    ValueError
        If there is no axis of observations.

    Examples
    --------
    >>> columns, shape = as_columns(np.zeros((2, 3, 4)), 1, "x")
    >>> columns.shape, shape
    ((3, 8), (2, 4))
    """
    if values.ndim == 0:
        raise ValueError(f"{name} must have at least one axis, got the single value {values}")
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(f"axis must lie in [{-values.ndim}, {values.ndim - 1}], got {axis}")
    if values.ndim == 1:
        return values[:, None], ()
    columns = np.moveaxis(values, axis, 0)
    shape = columns.shape[1:]
    return columns.reshape(len(columns), math.prod(shape)), shape


def whole_number(value: object, name: str, low: int, high: int | None = None) -> int:
    """An integer between bounds, whatever its type, or a ValueError that names it.

    Examples
    --------
    >>> whole_number(np.float64(3.0), "n", 1)
    3
    >>> whole_number(2.5, "n", 1, 9)
    Traceback (most recent call last):
    ...
    ValueError: n must be an integer in [1, 9], got 2.5
    """
    is_whole = isinstance(value, Real) and not isinstance(value, bool | np.bool_) and value == value // 1
    if not is_whole or value < low or (high is not None and value > high):  # type: ignore[operator]
        wanted = f"of at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be an integer {wanted}, got {shortened(repr(value))}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
