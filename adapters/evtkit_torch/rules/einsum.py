"""Einstein sums of an input and a matrix: the same as a linear call, which has a rule."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["einsum_as_linear"]


def einsum_as_linear(weight: Tensor, *args: Any) -> Callable[[], Tensor] | None:
    """How to compute ``torch.einsum(*args)`` by way of a linear call; None where it is no such thing.

    Parameters
    ----------
    weight : Tensor
        Which of the factors is the weight, a matrix: one of its letters is the input's alone, one the output's.
    *args
        Of `torch.einsum`.
    """
    equation, *factors = args
    if len(factors) == 1 and isinstance(factors[0], (list, tuple)):
        factors = list(factors[0])
    if not isinstance(equation, str) or len(factors) != 2 or weight.ndim != 2 or "->" not in equation:
        return None
    place = 0 if factors[0] is weight else 1
    x = factors[1 - place]
    left, _, result = equation.replace(" ", "").partition("->")
    letters = left.split(",")
    own, given = letters[place], letters[1 - place]
    hidden = "".join(sorted(set(string.ascii_letters) - set(equation)))[: x.ndim - len(given.replace("...", ""))]
    given, result = given.replace("...", hidden), result.replace("...", hidden)
    summed, made = [c for c in own if c not in result], [c for c in own if c in result]
    if len(summed) != 1 or len(made) != 1 or summed[0] not in given or made[0] in given or "." in own:
        return None
    rest = [c for c in given if c != summed[0]]
    if len(set(given)) < len(given) or len(set(result)) < len(result) or not set(result) <= {*rest, *made}:
        return None

    def compute() -> Tensor:
        rows = x.permute([given.index(c) for c in (*rest, *summed)])
        product = functional.linear(rows, weight) if own == made[0] + summed[0] else torch.matmul(rows, weight)
        names = [*rest, *made]
        over = [axis for axis, c in enumerate(names) if c not in result]
        product = product.sum(over) if over else product
        names = [c for c in names if c in result]
        return product.permute([names.index(c) for c in result])

    return compute
