"""Aliases: tensors that hold a weight's numbers in another dtype or shape, or shifted, as a layer may make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Alias", "alias_of"]

Form = Literal["same", "shaped", "transposed", "shifted"]

_CASTS = frozenset(["to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous"])
_SHAPES = frozenset(["view", "reshape", "unsqueeze", "view_as", "reshape_as", "expand_dims"])


@dataclass(frozen=True, eq=False)
class Alias:
    """A weight, or what was made of it.

    Parameters
    ----------
    name : str
        The parameter.
    form : {"same", "shaped", "transposed", "shifted"}
        As it is, but for its dtype; in another shape, elements in the same order; a matrix transposed; or with a
        number added.
    tensor : Tensor
        The alias itself.
    """

    name: str
    form: Form
    tensor: Tensor


def alias_of(func: Any, given: Alias, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Alias | None:
    """What a function has made of an alias, if that is one."""
    if not isinstance(output, Tensor):
        return None
    if output is given.tensor:
        return given
    name = getattr(func, "__name__", "")
    first = bool(args) and args[0] is given.tensor
    form: Form | None = None
    if first and name in _CASTS:
        form = given.form
    elif first and (name in _SHAPES or (name == "__getitem__" and _only_new_axes(args[1]))):
        form = {"same": "shaped", "shaped": "shaped", "shifted": "shifted"}.get(given.form)  # type: ignore[assignment]
    elif given.form == "same" and given.tensor.ndim == 2 and _transposes(name, func, args[1:], output, given.tensor):
        form = "transposed"
    elif name in ("add", "__add__", "__radd__") and not kwargs and given.form in ("same", "shaped", "shifted"):
        others = [value for value in args if value is not given.tensor]
        form = "shifted" if len(others) == 1 and isinstance(others[0], (int, float)) else None
    return None if form is None or output.numel() != given.tensor.numel() else Alias(given.name, form, output)


def _only_new_axes(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or part == slice(None) for part in parts)


def _transposes(name: str, func: Any, rest: Sequence[Any], output: Tensor, given: Tensor) -> bool:
    if name == "__get__":
        return func in (Tensor.T.__get__, Tensor.mT.__get__)  # type: ignore[attr-defined]  # descriptors
    if name == "t":
        return True
    if name in ("transpose", "swapaxes", "swapdims"):
        return len(rest) == 2 and {int(axis) % 2 for axis in rest} == {0, 1}
    return name == "permute" and [int(a) % 2 for a in (rest[0] if len(rest) == 1 else rest)] == [1, 0]
