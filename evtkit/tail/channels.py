"""Channels of a tail taken out of it, and those of several put side by side as one."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.frames import joined_names

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["joined", "picked"]


def picked(tail: Any, channel: int | str | Sequence[int | str]) -> dict[str, Any]:
    """The fields of a tail of one channel, by its position or name, or of those in a list."""
    if not tail.threshold.ndim:
        raise TypeError("this tail has one channel already")
    out = {f.name: getattr(tail, f.name) for f in fields(tail)}
    arrays = {name: a for name, a in out.items() if isinstance(a, np.ndarray)}
    if isinstance(channel, int | np.integer | str):
        at = _position(tail.names, channel)
        return out | {name: a[at] if a.ndim > 1 else np.asarray(a[at]) for name, a in arrays.items()}
    positions = [_position(tail.names, one) for one in channel]
    return out | {name: a[positions] for name, a in arrays.items()}


def _position(names: Any, channel: int | str) -> int:
    if not isinstance(channel, str):
        return int(channel)
    known = [] if names is None else names.tolist()
    if channel not in known:
        listed = ", ".join(map(repr, known[:12])) or "none with a name"
        raise ValueError(f"no channel {channel!r}; there is {listed}")
    return int(known.index(channel))


def joined(tails: Sequence[Any]) -> dict[str, Any]:
    """The fields of the tail that has the channels of all, in their order; ValueError where they do not go together."""
    if not tails:
        raise ValueError("tails must be one or more, got none")
    first = tails[0]
    for name in ("side", "method"):
        if found := [getattr(t, name) for t in tails if getattr(t, name) != getattr(first, name)]:
            raise ValueError(f"tails must agree in {name}, got {getattr(first, name)!r} and {found[0]!r}")
    out: dict[str, Any] = {"side": first.side, "method": first.method, "names": joined_names([t.names for t in tails])}
    if all(t.library == first.library for t in tails):
        out["library"] = first.library
    dated = [t.dates for t in tails]
    if all(d is not None and np.array_equal(d.time, dated[0].time) and d.zone == dated[0].zone for d in dated):
        out["dates"] = first.dates
    for part in fields(first):
        arrays = [getattr(t, part.name) for t in tails]
        if part.name in ("names", "dates", "library", "side", "method"):
            continue
        if part.name == "largest":
            out[part.name] = _padded([np.atleast_2d(a) for a in arrays])
        elif part.name != "sample":
            out[part.name] = np.concatenate([np.atleast_1d(a) for a in arrays])
        elif all(a is not None and a.shape[-1] == arrays[0].shape[-1] for a in arrays):
            out[part.name] = np.concatenate([np.atleast_2d(a) for a in arrays])
    return out


def _padded(rows: Sequence[Any]) -> Any:
    """Rows of different widths, ascending, with NaN in front of the shorter ones."""
    width = max(a.shape[1] for a in rows)
    out = np.full((sum(len(a) for a in rows), width), np.nan, dtype=np.result_type(*rows))
    start = 0
    for a in rows:
        out[start : start + len(a), width - a.shape[1] :] = a
        start += len(a)
    return out
