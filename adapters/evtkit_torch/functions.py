"""Functions of torch, and what each does to what is followed through a forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "CUTS",
    "TAKES_GRADIENTS",
    "is_fixed_by",
    "keeps_what_has_a_gradient",
    "looks_at_a_gradient",
    "makes_something_differentiable",
    "moves_rows",
    "values_among",
]

CUTS = {torch.detach, torch.Tensor.detach, torch.Tensor.data.__get__}  # type: ignore[attr-defined]  # a descriptor
"""Functions through which no gradient flows, so that a weight may enter them freely."""

TAKES_GRADIENTS = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}
"""Functions that run a backward pass of their own."""

_LOOKS_AT_GRADIENTS = {
    Tensor.register_hook,
    Tensor.register_post_accumulate_grad_hook,
    Tensor.retain_grad,
    Tensor.detach_,
    Tensor.grad_fn.__get__,  # type: ignore[union-attr]  # a descriptor
}

_MASKING = {torch.relu_, torch.Tensor.relu_, functional.relu6, functional.hardtanh, functional.hardtanh_}
"""In-place functions after which an element is what it was, or has no gradient."""

_SELECT = frozenset(
    [
        "__getitem__",
        "__setitem__",
        "masked_select",
        "index_select",
        "gather",
        "take",
        "take_along_dim",
        "index_add",
        "index_add_",
        "index_copy",
        "index_copy_",
        "index_put",
        "index_put_",
        "scatter",
        "scatter_",
        "scatter_add",
        "scatter_add_",
        "scatter_reduce",
        "scatter_reduce_",
        "masked_scatter",
        "masked_scatter_",
        "index_reduce",
        "index_reduce_",
    ]
)
_PICK = frozenset(["__getitem__", "masked_select", "index_select", "gather", "take", "take_along_dim"])
_FILLED = frozenset(
    [f"{kind}_like" for kind in ("zeros", "ones", "empty", "full")]
    + [f"new_{kind}" for kind in ("zeros", "ones", "empty", "full")]
)
_RANDOM = (
    "rand",
    "bernoulli",
    "normal",
    "multinomial",
    "poisson",
    "dropout",
    "uniform",
    "exponential",
    "feature_",
    "alpha_",
    "cauchy",
    "geometric",
    "log_normal",
    "rrelu",
)
_READ = frozenset(
    [
        "nonzero",
        "argwhere",
        "unique",
        "unique_consecutive",
        "item",
        "tolist",
        "numpy",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "__array__",
        "__contains__",
        "bincount",
        "histc",
        "repeat_interleave",
    ]
)


def moves_rows(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fixed: Callable[[Any], bool]) -> bool:
    """Whether a function may pick or move rows by their values, or tells Python values to decide by.

    Parameters
    ----------
    func, args, kwargs
        The call.
    fixed : callable
        Whether a tensor is the same for every batch of a shape: what is picked by it is, too.
    """
    name = getattr(func, "__name__", "")
    if name in _READ:
        return bool(args) and not fixed(args[0])
    if name == "where":
        return len(args) + len(kwargs) == 1 and not all(map(fixed, (*args, *kwargs.values())))
    if name not in _SELECT or not args:
        return False
    if fixed(args[0]) and name in _PICK:
        return False
    if name in ("__getitem__", "__setitem__"):
        among = args[1] if isinstance(args[1], (tuple, list)) else (args[1],)
        return not all(map(fixed, values_among(among, {})))
    indices = (value for value in values_among(args[1:], kwargs) if isinstance(value, Tensor))
    return not all(fixed(value) for value in indices if not value.is_floating_point())


def is_fixed_by(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    fixed: Callable[[Any], bool],
    among: Sequence[Any] | None = None,
) -> bool:
    """Whether what a function makes is the same for every batch of a shape, if some of its arguments are.

    ``among`` is what `values_among` has found, where that is known.
    """
    name = getattr(func, "__name__", "")
    if name in _FILLED:
        return all(map(fixed, values_among(args[1:], kwargs)))
    if args and not fixed(args[0]):  # as most are
        return False
    values = values_among(args, kwargs) if among is None else among
    return all(map(fixed, values)) and not name.startswith(_RANDOM)


def keeps_what_has_a_gradient(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function changes its first argument in place, but only where its gradient is then zero."""
    if func is functional.relu:
        return bool(kwargs.get("inplace", args[1] if len(args) > 1 else False))
    return func in _MASKING


def values_among(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Every argument, and what lists of them hold."""
    found: list[Any] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, (list, tuple)):
            found += value
        else:
            found.append(value)
    return found


def looks_at_a_gradient(func: Any) -> bool:
    """Whether a function looks at, or changes, how a tensor's gradient comes about."""
    try:
        return func in _LOOKS_AT_GRADIENTS
    except TypeError:  # unhashable callables
        return False


def makes_something_differentiable(output: Any) -> bool:
    """Whether a function made something a gradient could flow through."""
    if isinstance(output, (list, tuple)):
        return any(makes_something_differentiable(value) for value in output)
    return isinstance(output, Tensor) and output.is_floating_point() and not isinstance(output, nn.Parameter)
