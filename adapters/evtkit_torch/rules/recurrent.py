"""Recurrent layers: torch's fused functions hide their weights, so they are computed step by step in linear calls.

Equations as in the documentation of `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RECURRENT", "is_packed"]

State = tuple[Tensor, ...]


def is_packed(args: Sequence[Any]) -> bool:
    """Whether a call is of packed sequences, which are left to torch."""
    return len(args) < 4 or isinstance(args[3], (list, tuple))  # the weights come after sizes of batches and the state


def _lstm_step(x: Tensor, state: State, hidden: Callable[[Tensor], Tensor]) -> State:
    """From the inputs' share of the gates and the state (h, c) to the next state."""
    h, c = state
    i, f, g, o = (x + hidden(h)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru_step(x: Tensor, state: State, hidden: Callable[[Tensor], Tensor]) -> State:
    (h,) = state
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = hidden(h).chunk(3, -1)
    z = torch.sigmoid(xz + hz)
    n = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
    return ((1 - z) * n + z * h,)


def _rnn_step(function: Callable[[Tensor], Tensor]) -> Callable[..., State]:
    return lambda x, state, hidden: (function(x + hidden(state[0])),)


def _layers(step: Callable[..., State]) -> Callable[..., Any]:
    """Several layers, one or two directions, of a step."""

    def run(
        x: Tensor,
        start: Any,
        weights: Sequence[Tensor],
        biases: bool,
        layers: int,
        dropout: float,
        train: bool,
        both: bool,
        batch_first: bool,
    ) -> Any:
        starts: State = tuple(start) if isinstance(start, (list, tuple)) else (start,)
        directions = 2 if both else 1
        own = len(weights) // (layers * directions)  # input, hidden, two biases, projection
        projected = own == (5 if biases else 3)
        x = x.transpose(0, 1) if batch_first else x
        ends: list[State] = []
        for layer in range(layers):
            found = []
            for direction in range(directions):
                place = layer * directions + direction
                part = list(weights[place * own : (place + 1) * own])
                bias = part[2:4] if biases else [None, None]
                shares = functional.linear(x, part[0], bias[0])
                state = tuple(s[place] for s in starts)
                steps = []

                def hidden(h: Tensor, weight: Tensor = part[1], bias: Any = bias[1]) -> Tensor:
                    return functional.linear(h, weight, bias)

                times = range(len(x))
                for t in reversed(times) if direction else times:
                    state = step(shares[t], state, hidden)
                    if projected:
                        state = (functional.linear(state[0], part[-1]), *state[1:])
                    steps.append(state[0])
                found.append(torch.stack(steps[::-1] if direction else steps))
                ends.append(state)
            x = torch.cat(found, -1) if both else found[0]
        last = [torch.stack(parts) for parts in zip(*ends, strict=True)]
        return (x.transpose(0, 1) if batch_first else x, *last)

    return run


def _cell(step: Callable[..., State]) -> Callable[..., Any]:
    """One step of a cell."""

    def run(x: Tensor, start: Any, w: Tensor, u: Tensor, b: Tensor | None = None, c: Tensor | None = None) -> Any:
        starts: State = tuple(start) if isinstance(start, (list, tuple)) else (start,)
        state = step(functional.linear(x, w, b), starts, lambda h: functional.linear(h, u, c))
        return state if len(state) > 1 else state[0]

    return run


RECURRENT: dict[Any, Callable[..., Any]] = {
    torch.lstm: _layers(_lstm_step),
    torch.gru: _layers(_gru_step),
    torch.rnn_tanh: _layers(_rnn_step(torch.tanh)),
    torch.rnn_relu: _layers(_rnn_step(torch.relu)),
    torch.lstm_cell: _cell(_lstm_step),
    torch.gru_cell: _cell(_gru_step),
    torch.rnn_tanh_cell: _cell(_rnn_step(torch.tanh)),
    torch.rnn_relu_cell: _cell(_rnn_step(torch.relu)),
}
"""Functions that hide weights, and the same computed from functions that have rules."""
