"""What a file of a kind must hold: the words in which its schema is written.

A kind of file has one schema, a function that is given all of the file's content and raises ValueError where it cannot
be what was saved: first the form (names, types, shapes, ranges, by what is below), then whether the parts agree. It
runs before any other code sees a value, compiled code above all, which checks no bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MANY", "Array", "check_arrays", "flag", "integer", "keys", "number", "numbers", "text", "texts"]

MANY = 1 << 53
"""More than can be counted, and far from the largest integer."""


@dataclass(frozen=True)
class Array:
    """What an array of a file must be.

    Attributes
    ----------
    dtype : str
        Types allowed, separated by blanks, as ``"f8"`` or ``"f4 f8"``; ``"U"`` is text of any length.
    shape : str
        Names of its axes, separated by blanks. An axis has the same length wherever its name stands. A name with a
        star, such as ``"channels*"``, may also stand for no axis at all.
    low, high : float
        Bounds of its values.
    nan, infinite : bool
        Whether values may be NaN or infinite.
    optional : bool
        Whether the array may be missing.

    Examples
    --------
    >>> schema = {"n": Array("i8", "channels", low=0.0), "x": Array("f4 f8", "channels kept")}
    >>> sizes = check_arrays({"n": np.array([3, 2]), "x": np.ones((2, 5))}, schema)
    >>> sizes["channels"], sizes["kept"]
    ((2,), (5,))
    >>> check_arrays({"n": np.array([3, -2]), "x": np.ones((2, 5))}, schema)
    Traceback (most recent call last):
    ...
    ValueError: n holds -2, wanted at least 0
    """

    dtype: str
    shape: str = ""
    low: float = -math.inf
    high: float = math.inf
    nan: bool = False
    infinite: bool = False
    optional: bool = False

    def check(self, array: Any, name: str, sizes: dict[str, tuple[int, ...]]) -> None:
        """Raise ValueError if the array is not so; sizes of axes that were not known yet are entered."""
        allowed = self.dtype.split()
        kind = "U" if array.dtype.kind == "U" else array.dtype.str[1:]
        if kind not in allowed or not array.dtype.isnative:
            raise ValueError(f"{name} is of dtype {array.dtype}, wanted {' or '.join(allowed)}")
        self._check_shape(array, name, sizes)
        if kind == "U" or not array.size:
            return
        lowest, highest = array.min(), array.max()  # NaN if there is one
        if np.isnan(lowest):
            if not self.nan:
                raise ValueError(f"{name} holds NaN")
            known = array[~np.isnan(array)]
            if not known.size:
                return
            lowest, highest = known.min(), known.max()
        if not self.infinite and not (np.isfinite(lowest) and np.isfinite(highest)):
            raise ValueError(f"{name} holds an infinity")
        if lowest < self.low:
            raise ValueError(f"{name} holds {lowest.item()}, wanted at least {self.low:g}")
        if highest > self.high:
            raise ValueError(f"{name} holds {highest.item()}, wanted at most {self.high:g}")

    def _check_shape(self, array: Any, name: str, sizes: dict[str, tuple[int, ...]]) -> None:
        left = array.shape
        axes = self.shape.split()
        for i, axis in enumerate(axes):
            key = axis.removesuffix("*")
            if key not in sizes:
                none = axis.endswith("*") and len(left) < len(axes) - i
                sizes[key] = () if none else left[:1]
            if not (axis.endswith("*") or sizes[key]) or left[: len(sizes[key])] != sizes[key]:
                raise ValueError(f"{name} has shape {array.shape}, which does not go with the other arrays")
            left = left[len(sizes[key]) :]
        if left:
            raise ValueError(f"{name} has shape {array.shape}, wanted {len(axes)} axes")


def check_arrays(
    arrays: Mapping[str, NDArray[Any]], schema: Mapping[str, Array], prefix: str = ""
) -> dict[str, tuple[int, ...]]:
    """Check that the arrays are those of the schema; the sizes of its axes, each as a shape of length 0 or 1."""
    wanted = {prefix + name for name, one in schema.items() if not one.optional}
    keys(arrays, wanted, {prefix + name for name in schema})
    sizes: dict[str, tuple[int, ...]] = {}
    for name, one in schema.items():
        if prefix + name in arrays:
            one.check(arrays[prefix + name], prefix + name, sizes)
    return sizes


def keys(content: Any, wanted: Collection[str], allowed: Collection[str] | None = None) -> Any:
    """A table that has all these entries, and no others than are allowed."""
    if not hasattr(content, "keys"):
        raise ValueError(f"wanted a table of {', '.join(sorted(wanted)):.80}, got {content!r:.60}")
    found = set(content)
    if absent := set(wanted) - found:
        raise ValueError(f"{min(absent)} is missing")
    if strange := found - set(wanted if allowed is None else allowed):
        raise ValueError(f"{min(strange)!r:.60} is unknown")
    return content


def integer(value: Any, name: str, low: int = 0, high: int = MANY) -> int:
    """An integer between bounds."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r:.60}")
    return value


def number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number between bounds."""
    if type(value) not in (int, float) or not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r:.60}")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ValueError(f"{name} must be true or false, got {value!r:.60}")
    return value


def text(value: Any, name: str, choices: Collection[str] | None = None) -> str:
    """A text, one of the choices if there are any."""
    if type(value) is not str or (choices is not None and value not in choices):
        wanted = "text" if choices is None else f"one of {', '.join(map(repr, choices))}"
        raise ValueError(f"{name} must be {wanted}, got {value!r:.60}")
    return value


def texts(value: Any, name: str, length: int | None = None) -> Sequence[str]:
    """A list of texts, of that length."""
    if type(value) is not list or any(type(one) is not str for one in value) or length not in (None, len(value)):
        raise ValueError(f"{name} must be a list of {'' if length is None else f'{length} '}names, got {value!r:.60}")
    return value


def numbers(
    value: Any, name: str, length: int | None = None, low: float = -math.inf, high: float = math.inf, *,
    whole: bool = False,
) -> NDArray[Any]:  # fmt: skip
    """A list of finite numbers between bounds, as an array: of integers if they are to be whole."""
    if type(value) is not list or length not in (None, len(value)):
        raise ValueError(f"{name} must be a list of {'' if length is None else f'{length} '}numbers, got {value!r:.60}")
    kinds = {int} if whole else {int, float}
    if not kinds.issuperset(map(type, value)):
        raise ValueError(f"{name} must hold {'integers' if whole else 'numbers'} only")
    try:
        array = np.array(value, dtype=np.int64 if whole else np.float64)
    except OverflowError:
        raise ValueError(f"{name} holds a number that is too large") from None
    if array.size and not (np.isfinite(array).all() and array.min() >= low and array.max() <= high):
        raise ValueError(f"{name} must hold numbers from {low:g} to {high:g}")
    return array
