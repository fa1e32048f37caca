"""What a saved detector must be: its form, and how what it has learnt agrees with itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.schema import MANY, flag, integer, keys, number, numbers, text, texts
from evtkit._kernels import tail_columns as columns
from evtkit.fit import FitStatus
from evtkit.spot.labels import HUGE
from evtkit.tail.stored import matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit.spot.state import Rules, Streams

__all__ = ["check_content", "check_events", "check_parameters", "check_streams"]

_CONTENT = {"parameters", "single", "names", "cleaned", "streams", "events"}
_TAIL = {"threshold", "n", "n_excess", "imputed", "rare", "kept", "followed", "states"}
_WINDOW = {"window", "sum", "place"}


def check_parameters(content: Any, names: Sequence[str]) -> None:
    """Refuse what does not hold a detector's arguments, by these names; their values are the constructor's to check."""
    keys(content, _CONTENT)
    for name, value in keys(content["parameters"], set(names)).items():
        if name == "clean" and value in (True, False, None) and type(value) in (bool, type(None)):
            continue
        if name == "clean" or type(value) not in (int, float, str):
            raise ValueError(f"{name} is {value!r:.60}")


def check_content(content: Any, sides: int, capacity: int, depth: int) -> None:
    """Refuse streams that do not have the form of those of a detector with these arguments."""
    streams = content["streams"]
    if type(streams) is not list or not streams:
        raise ValueError(f"streams must be a list of streams, got {streams!r:.60}")
    single = flag(content["single"], "single")
    if single and len(streams) != 1:
        raise ValueError(f"it has {len(streams)} streams, wanted a single one")
    if single and content["names"] is not None:
        text(content["names"], "names")
    elif content["names"] is not None:
        texts(content["names"], "names", len(streams))
    numbers(content["cleaned"], "cleaned", len(streams), 0, MANY, whole=True)
    for stream in streams:
        keys(stream, {"n", "tails", "run", "moves"} | (_WINDOW if depth else set()))
        n = integer(stream["n"], "n")
        numbers(stream["run"], "run", 3, 0, MANY, whole=True)
        _, tolerance, lowest, highest, gain, grain, allowed, _ = numbers(stream["moves"], "moves", 8, -HUGE, HUGE)
        if (
            tolerance < 0.0
            or allowed < 0.0
            or lowest > highest
            or not 0.0 <= gain <= 1.0
            or grain < 0.0
            or (gain > 0.0) != (grain > 0.0)
        ):
            raise ValueError(f"moves are {stream['moves']!r:.60}")
        if depth:
            window = numbers(stream["window"], "window", depth, -HUGE, HUGE)
            total = numbers(stream["sum"], "sum", 2)
            integer(stream["place"], "place", 0, depth - 1)
            if not abs(float(total.sum()) - math.fsum(window)) <= 1e-9 * float(np.abs(window).sum()):
                raise ValueError("sum is not that of the window")
        if type(stream["tails"]) is not list or len(stream["tails"]) != sides:
            raise ValueError(f"a stream has {stream['tails']!r:.60} for {sides} tails")
        for tail in stream["tails"]:
            _check_tail(keys(tail, _TAIL), n, capacity)


def _check_tail(tail: dict[str, Any], n: int, capacity: int) -> None:
    """One tail: the numbers it has counted, the values it keeps, and what follows its fit."""
    seen = integer(tail["n"], "n", 0, n)
    total = integer(tail["n_excess"], "n_excess", 0, seen)
    integer(tail["imputed"], "imputed", 0, n)
    numbers(tail["rare"], "rare", 4, 0, MANY, whole=True)
    (threshold,) = numbers([tail["threshold"]], "threshold", 1, -HUGE, HUGE)
    kept = numbers(tail["kept"], "kept", min(total, capacity), -HUGE, HUGE)
    if not np.all(kept > threshold):
        raise ValueError("a value is kept that is no excess")
    states = numbers(tail["states"], "states", 5, 0, MANY, whole=True)
    status, fresh, followed, _, _ = states.tolist()
    if status not in iter(FitStatus) or fresh > 1 or followed > columns.SHORT:
        raise ValueError(f"the states {states.tolist()} are unknown")
    followed_values = tail["followed"]
    if type(followed_values) is not list or len(followed_values) != columns.FLOATS:
        raise ValueError(f"followed must be a list of {columns.FLOATS} numbers")
    for place, value in enumerate(followed_values):
        if type(value) not in (int, float) and value not in _NOT_FINITE.get(place, ()):
            raise ValueError(f"followed holds {value!r:.60}")
        if type(value) is float and not math.isfinite(value):
            raise ValueError("followed holds an infinity")
    if followed_values[columns.U] != threshold:
        raise ValueError("threshold is not the one that is followed")


_NOT_FINITE = {
    columns.XI: ("nan",), columns.SIGMA: ("nan",), columns.LEVEL: ("inf",), columns.FIRST: ("nan",),
    columns.LAST: ("nan",),
}  # fmt: skip
"""What a tail without a fit says of it."""


def check_streams(streams: Streams, rules: Rules) -> None:
    """Refuse a state whose fits are not those of the values kept, or whose sums are not those of the excesses.

    The sums follow the maximum of the likelihood from excess to excess, so their last bits are the stream's history:
    they are restored as they were, and compared here with sums that are formed anew.
    """
    f, i = streams.floats, streams.integers
    with np.errstate(all="ignore"):
        for t in np.flatnonzero(i[:, columns.FOLLOWED] != columns.NOTHING).tolist():
            _check_followed(f[t], int(i[t, columns.FOLLOWED]), streams.excesses(t))
    fresh = np.flatnonzero(i[:, columns.FRESH])
    if not fresh.size:
        return
    anew = streams.copy()
    anew.integers[:, columns.FRESH], anew.integers[:, columns.FOLLOWED] = 0, columns.NOTHING
    g, j = anew.refitted(rules)
    if np.any(i[fresh, columns.STATUS] != j[fresh, columns.STATUS]):
        raise ValueError("a status is not that of a fit of the values kept")
    fitted = fresh[i[fresh, columns.STATUS] <= FitStatus.BOUNDARY]
    u = f[fitted, columns.U]
    for column, room in ((columns.XI, _ROOM), (columns.SIGMA, 0.0), (columns.LEVEL, _ROOM * np.abs(u))):
        if not matches(f[fitted, column], g[fitted, column], room):
            raise ValueError("a fit is not that of the values kept")
    if np.any(f[np.setdiff1d(fresh, fitted), columns.LEVEL] != np.inf):
        raise ValueError("there is a level without a fit")


_ROOM = 1e-6


def _check_followed(f: Any, which: int, y: Any) -> None:
    """The sums of one tail, and the fit they begin from."""
    scale, tau, logs = f[[columns.SCALE, columns.TAU, columns.LOGS]].tolist()
    if not (f[columns.SIGMA] > 0.0 and f[columns.XI] >= -1.0 and f[columns.LEVEL] >= f[columns.U] and scale > 0.0):
        raise ValueError("there is no fit to follow")
    z = y / scale
    if not f[columns.TOP] >= z.max() * (1.0 - _ROOM):
        raise ValueError("a value lies above the largest one")
    if which == columns.SHORT:
        right = abs(logs - z.sum()) <= _ROOM * z.sum()
    else:
        a = 1.0 + tau * z
        by_log, inverses = np.log(a).sum(), (1.0 / a).sum()
        right = (
            f[columns.SLOPE] < 0.0 and a.min() > 0.0
            and abs(logs - by_log) <= _ROOM * (np.abs(np.log(a)).sum() + 1.0)
            and abs(f[columns.INVERSES] - inverses) <= _ROOM * inverses
        )  # fmt: skip
    if not right:
        raise ValueError("what follows a fit is not of the values kept")


_EVENTS = {
    "channels",
    "row",
    "total",
    "risk",
    "side",
    "quiet",
    "cooldown",
    "need",
    "within",
    "memory",
    "open",
    "streams",
    "budget",
}
_EVENT = {"first", "peak", "channels", "alarms", "last", "is_over", "has_moved"}
_ALARM = {"row", "channel", "value", "threshold", "probability", "side"}
_CHANNEL = {"event", "last", "ended", "band", "moved", "recent"}


def check_events(content: Any) -> None:
    """Refuse what no `Events` described itself as."""
    channels = texts(keys(content, _EVENTS)["channels"], "channels")
    for name in ("row", "total", "quiet", "cooldown", "need", "within", "memory"):
        integer(content[name], name)
    if content["risk"] is not None:
        number(content["risk"], "risk", 0.0, 1.0)
    text(content["side"], "side", ("upper", "lower", "both"))
    if content["budget"] is not None:
        if type(content["budget"]) is not list or len(content["budget"]) != 4:
            raise ValueError(f"budget must be four numbers, got {content['budget']!r:.60}")
        *counts, total = content["budget"]
        rows, inside, beyond = (integer(count, "budget") for count in counts)
        number(total, "budget", 0.0)
        if inside + beyond > rows:
            raise ValueError("the budget has seen more than all rows")
    going_on = keys(content["open"], (), content["open"])
    for key, event in going_on.items():
        if not (key.isascii() and key.isdigit() and str(int(key)) == key and int(key) < content["total"]):
            raise ValueError(f"an event has the number {key!r:.60}")
        _check_event(event, channels, content["row"])
    if type(content["streams"]) is not list or len(content["streams"]) != len(channels):
        raise ValueError("the events are not of one stream a channel")
    for channel, stream in zip(channels, content["streams"], strict=True):
        keys(stream, _CHANNEL)
        integer(stream["last"], "last", -1)
        for name in ("event", "ended", "moved"):
            if stream[name] is not None:
                integer(stream[name], name)
        low, high = (_extended(value, "band") for value in _pair(stream["band"]))
        recent = numbers(stream["recent"], "recent", None, 0, MANY, whole=True)
        if low > high or np.any(np.diff(recent) < 1):
            raise ValueError("a stream is not in order")
        if (
            stream["event"] is not None
            and channel not in going_on.get(str(stream["event"]), {"channels": ()})["channels"]
        ):
            raise ValueError("a stream has an event that it is no part of")


def _check_event(event: Any, channels: Sequence[str], row: int) -> None:
    """One event that goes on."""
    keys(event, _EVENT)
    first, peak = (_check_alarm(event[name], channels) for name in ("first", "peak"))
    among = texts(event["channels"], "channels")
    if not {first["channel"], peak["channel"]} <= set(among) <= set(channels) or len(set(among)) < len(among):
        raise ValueError("an event has other channels")
    integer(event["alarms"], "alarms", 1)
    last = integer(event["last"], "last", first["row"], row)
    if flag(event["is_over"], "is_over") or not first["row"] <= peak["row"] <= last:
        raise ValueError("an event is over, or not in order")
    flag(event["has_moved"], "has_moved")


def _check_alarm(alarm: Any, channels: Sequence[str]) -> dict[str, Any]:
    keys(alarm, _ALARM)
    integer(alarm["row"], "row")
    text(alarm["channel"], "channel", channels)
    for name in ("value", "threshold"):
        _extended(alarm[name], name)
    number(alarm["probability"], "probability", 0.0, 1.0)
    text(alarm["side"], "side", ("upper", "lower"))
    return dict(alarm)


def _extended(value: Any, name: str) -> float:
    """A number, or an infinity as it is written."""
    return float(value["float"]) if value in _INFINITIES else number(value, name)


_INFINITIES = ({"float": "inf"}, {"float": "-inf"})


def _pair(value: Any) -> list[Any]:
    if type(value) is not list or len(value) != 2:
        raise ValueError(f"band must be two numbers, got {value!r:.60}")
    return value
