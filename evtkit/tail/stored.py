"""What a saved Tail and a saved TailSketch must be: their schemas, and how their parts agree; and what a Tail saves."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit import gpd
from evtkit._common.schema import MANY, Array, check_arrays, integer, keys, text
from evtkit._common.zones import zone_of
from evtkit._moments import empty_state, mean_and_variance, right_bins
from evtkit.dated import Dates
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int

__all__ = ["METHOD_NAMES", "check_rows", "check_settings", "check_sketch", "check_summary", "check_tail", "from_stored",
           "matches", "to_store"]  # fmt: skip

METHOD_NAMES = ("mle", "pwm", "zhang-stephens", "moments", "spot-script")
"""Those of `evtkit.estimators.METHODS`, which loads compiled code."""

_COUNT = Array("i8", "channels*", low=0, high=MANY)
_NUMBER = Array("f8", "channels*", nan=True, infinite=True)
_SIZE = Array("f8", "channels*", low=0.0, nan=True, infinite=True)

_TAIL = {
    "threshold": Array("f8", "channels*", nan=True),
    "xi": Array("f8", "channels*", nan=True),
    "sigma": Array("f8", "channels*", low=0.0, nan=True),
    "n": _COUNT,
    "n_excess": _COUNT,
    "status": Array("i8", "channels*", low=min(FitStatus), high=max(FitStatus)),
    "mean": _NUMBER,
    "std": _SIZE,
    "mean_excess": _SIZE,
    "loglik": _NUMBER,
    "se_xi": _SIZE,
    "se_sigma": _SIZE,
    "cov": _NUMBER,
    "resolution": Array("f8", "channels*", low=0.0),
    "left_out": _COUNT,
    "largest": Array("f4 f8", "channels* kept", nan=True),
    "sample": Array("f4 f8", "channels* rows", nan=True, optional=True),
    "names": Array("U", "channels*", optional=True),
    "time": Array("i8", "rows", optional=True),
}

_SKETCH = {
    "largest": Array("f4 f8", "kept"),
    "count": Array("i8", "channels", low=0, high=MANY),
    "nonfinite_count": Array("i8", "channels", low=0, high=MANY),
    "moments": Array("i8", "channels numbers", low=-MANY, high=MANY),
    "minimum": Array("f4 f8", "channels", infinite=True),
    "names": Array("U", "channels", optional=True),
}

_CLOSE = 1e-6  # relative: what is stored was summed in another order


def check_tail(arrays: Mapping[str, NDArray[Any]], words: Any, prefix: str = "") -> None:
    """Refuse what no Tail was saved as: its arrays, whose names begin with a prefix, its side and its method."""
    check_arrays(arrays, _TAIL, prefix)
    dated = {"zone", "unordered"} if prefix + "time" in arrays else set()
    keys(words, {"side", "method", *dated}, {"side", "method", "library", *dated})
    if words.get("library") is not None:
        text(words["library"], "library", ("pandas", "polars"))
    if prefix + "time" in arrays:
        _check_dates(arrays[prefix + "time"], words)
    sign = 1.0 if text(words["side"], "side", ("upper", "lower")) == "upper" else -1.0
    method = text(words["method"], "method", METHOD_NAMES)
    one = {name: np.atleast_1d(arrays[prefix + name]) for name in _TAIL if prefix + name in arrays}
    largest, u, n, n_excess = np.atleast_2d(one["largest"]), sign * one["threshold"], one["n"], one["n_excess"]
    _check_ascending(largest, n)
    _must(bool(np.all(n_excess <= n)), "n_excess is more than n")
    _must(bool(np.all(~np.isnan(u) | (n_excess == 0))), "a threshold is NaN")
    with np.errstate(all="ignore"):
        y = largest.astype(np.float64) - u[:, None]
        above = largest > u[:, None]
        _must(bool(np.all(np.count_nonzero(above, axis=1) == n_excess)), "n_excess is not the number of the excesses")
        mean = np.where(above, y, 0.0).sum(axis=1) / n_excess
        _must(matches(one["mean_excess"], mean), "mean_excess is not the mean of the excesses")
        if "sample" in one:
            _check_sample(np.atleast_2d(one["sample"]), largest, u, one, sign)
        _check_fit(np.where(above, y, np.nan), one, method)


def to_store(tail: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a tail, and its words: what `from_stored` makes its fields of."""
    arrays = {f.name: getattr(tail, f.name) for f in fields(tail) if isinstance(getattr(tail, f.name), np.ndarray)}
    words: dict[str, Any] = {"side": tail.side, "method": tail.method, "library": tail.library}
    if tail.dates is not None:
        arrays["time"] = tail.dates.time.astype(np.int64)
        words |= {"zone": tail.dates.zone, "unordered": tail.dates.unordered}
    return arrays, words


def from_stored(arrays: Mapping[str, NDArray[Any]], words: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the tail that was stored so."""
    out = {**arrays, **words}
    if "time" in out:
        out["dates"] = Dates(out.pop("time").astype("M8[us]"), out.pop("zone"), out.pop("unordered"))
    return out


def _check_dates(time: Int, words: Mapping[str, Any]) -> None:
    """Times in microseconds, in order, and a time zone that is known here."""
    _must(bool(np.all(time[1:] >= time[:-1])), "the times are not in ascending order")
    _must(time.min(initial=0) > np.iinfo(np.int64).min, "a time is missing")
    integer(words["unordered"], "unordered")
    if words["zone"] is not None:
        try:
            zone_of(words["zone"])
        except (TypeError, ValueError):
            raise ValueError(f"zone {words['zone']!r:.60} is unknown") from None


def _check_ascending(largest: NDArray[Any], count: Int) -> None:
    """Rows ascend, after the NaN in front of them, and hold no more than was counted."""
    known = np.count_nonzero(~np.isnan(largest), axis=1)
    with np.errstate(invalid="ignore"):
        fine = np.isnan(largest[:, :-1]) | (largest[:, :-1] <= largest[:, 1:])
    _must(bool(np.all(fine)), "the largest values are not in ascending order")
    _must(bool(np.all(known <= count)), "there are more of the largest values than observations")


def _check_sample(sample: NDArray[Any], largest: NDArray[Any], u: Float, one: Mapping[str, Any], sign: float) -> None:
    """All observations, of which the largest are some, and the mean and standard deviation those of all."""
    _must(sample.dtype == largest.dtype, "sample and largest differ in dtype")
    there = ~np.isnan(sample)
    count = np.count_nonzero(there, axis=1)
    _must(bool(np.all(count == one["n"])), "the sample is not of n observations")
    _must(
        bool(np.all(np.count_nonzero(sample > u[:, None], axis=1) == one["n_excess"])), "the sample has other excesses"
    )
    top = np.where(there, sample, -np.inf).max(axis=1, initial=-np.inf)
    last = largest[:, -1] if largest.shape[1] else np.full(len(largest), np.nan)
    _must(bool(np.all((top == last) | (count == 0))), "the sample has another largest value")
    mean = np.where(there, sample, 0.0).sum(axis=1, dtype=np.float64) / count
    reach = np.abs(np.where(there, sample, 0.0)).max(axis=1, initial=0.0)
    squares = (np.where(there, sample - mean[:, None], 0.0) ** 2).sum(axis=1)
    std = np.where(count > 0, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
    _must(matches(sign * one["mean"], mean, _CLOSE * reach), "mean is not that of the sample")
    _must(matches(one["std"], std, 1e-9 * reach), "std is not that of the sample")


def _check_fit(y: Float, one: Mapping[str, Any], method: str) -> None:
    """Shape and scale where there is a fit, with the likelihood that the excesses give them."""
    status, xi, sigma, n = one["status"], one["xi"], one["sigma"], one["n_excess"]
    fitted, rounded = status <= FitStatus.BOUNDARY, one["resolution"] > 0.0
    _must(bool(np.all(~fitted | (np.isfinite(xi) & (sigma > 0.0)))), "a fit has no shape or scale")
    _must(bool(np.all(np.isnan(xi) == np.isnan(sigma))), "a shape has no scale")
    _must(bool(np.all((status == FitStatus.EMPTY) == (n == 0))), "a status does not go with the number of excesses")
    _must(bool(np.all(~np.isnan(xi) | (status > FitStatus.CONSTANT))), "a status does not go with the fit")
    if method == "mle":
        _must(bool(np.all(~fitted | (xi >= -1.0))), "a shape is below -1")
        at_edge = (xi == -1.0) | rounded
        _must(bool(np.all(at_edge | (status != FitStatus.BOUNDARY))), "a status does not go with the shape")
    held = fitted & (sigma > 0.0) & ~rounded  # of rounded data the likelihood is one of cells
    shape, scale = np.where(held, xi, 0.0)[:, None], np.where(held, sigma, 1.0)[:, None]
    terms = np.asarray(gpd.logpdf(np.where(np.isnan(y), 0.0, y), shape, scale))
    loglik = np.where(np.isnan(y), 0.0, terms).sum(axis=1)
    off = _CLOSE * n * (1.0 + np.abs(np.log(scale[:, 0])))
    exact = held & (one["resolution"] == 0.0)  # of rounded excesses it is that of their cells
    _must(matches(one["loglik"][exact], loglik[exact], off[exact]), "loglik is not that of the excesses")
    worth = np.abs(one["cov"]) <= one["se_xi"] * one["se_sigma"] * (1.0 + _CLOSE)
    _must(bool(np.all(worth | np.isnan(one["se_xi"]))), "cov is more than its standard errors allow")


def check_sketch(arrays: Mapping[str, NDArray[Any]], words: Any, prefix: str = "") -> None:
    """Refuse what no TailSketch was saved as: its arrays, whose names begin with a prefix, and its settings."""
    sizes = check_arrays(arrays, _SKETCH, prefix)
    keys(words, {"capacity", "nonfinite"})
    capacity = check_settings(words)
    one = {name: arrays[prefix + name] for name in _SKETCH if prefix + name in arrays}
    _must(sizes["channels"][0] > 0, "there is no channel")
    check_rows(one["largest"], one["count"], capacity)
    check_summary(one["largest"], one["count"], capacity, one["moments"], one["minimum"])


def check_settings(words: Mapping[str, Any]) -> int | None:
    """The capacity, after it and the treatment of what is not finite were looked at."""
    text(words["nonfinite"], "nonfinite", ("raise", "count"))
    return None if words["capacity"] is None else integer(words["capacity"], "capacity", 1, 1 << 30)


def check_rows(largest: NDArray[Any], count: Int, capacity: int | None) -> None:
    """The kept values of the channels, one behind the other, ascending, as many as there should be."""
    kept = count if capacity is None else np.minimum(count, capacity)
    _must(
        bool(np.all(kept <= len(largest))) and int(kept.sum()) == len(largest),
        "not as many values are kept as there should be",
    )
    first = np.zeros(len(largest), dtype=bool)
    first[(np.cumsum(kept) - kept)[kept > 0]] = True
    _must(bool(np.all(first[1:] | (largest[1:] >= largest[:-1]))), "the largest values are not in ascending order")


def check_summary(largest: NDArray[Any], count: Int, capacity: int | None, moments: Int, minimum: NDArray[Any]) -> None:
    """Moments and minima that go with the values kept."""
    kept = count if capacity is None else np.minimum(count, capacity)
    _must(minimum.dtype == largest.dtype, "minimum and largest differ in dtype")
    seen = count > 0
    _must(bool(np.all(seen == np.isfinite(minimum))), "a channel has no minimum")
    stop = np.cumsum(kept)[seen]
    x, n, low = largest.astype(np.float64), kept[seen], minimum[seen].astype(np.float64)
    least, most = x[stop - n], x[stop - 1]
    _must(bool(np.all((low == least) | ((low < least) & (count > kept)[seen]))), "a minimum is not the smallest value")
    with np.errstate(all="ignore"):
        reach = np.maximum(np.abs(low), np.abs(most))
        every = np.zeros(len(count))
        every[seen] = reach
        _check_state(moments, every)
        mean, variance = (a[seen] for a in mean_and_variance(moments, count))
        room = _CLOSE * reach
        _must(bool(np.all((mean >= low - room) & (mean <= most + room))), "a mean is not between the extremes")
        total = count[seen]
        squares = variance * np.maximum(total - 1, 1)
        _must(bool(np.all(squares >= 0.0)), "a variance is negative")
        spread = total * (0.5 * (most - low)) ** 2  # at the most (Popoviciu 1935)
        _must(bool(np.all((squares <= spread * (1.0 + _CLOSE) + room**2) | ~np.isfinite(squares))),
              "a variance is more than the extremes allow")  # fmt: skip
        if n.size:
            _check_moments(x, stop - n, n, mean, squares, total == n, room)


def _check_state(state: Int, reach: Float) -> None:
    """Moments as `evtkit._moments` leaves them, of values that reach so far."""
    _must(state.shape[1] == empty_state(0).shape[1], "moments are not so many numbers")
    _must(bool(np.all(state[:, 0] == right_bins(reach))), "moments are not of such values")
    low = state[:, 1::2]
    _must(bool(np.all((low >= 0) & (low < 1 << 40))), "moments are not in their form")


def _check_moments(x: Float, first: Int, number: Int, mean: Float, squares: Float, whole: Bool, room: Float) -> None:
    """Mean and sum of squares of the channels whose observations are all there."""
    exact = np.add.reduceat(x, first) / number
    _must(matches(mean[whole], exact[whole], room[whole]), "a mean is not that of the values")
    off = x - np.repeat(exact, number)
    total = np.add.reduceat(off * off, first)
    _must(
        matches(squares[whole], total[whole], 1e-9 * (number * room**2 / _CLOSE)[whole]),
        "a variance is not that of the values",
    )


def matches(stored: Float, computed: Float, room: Float | float = 0.0) -> bool:
    """Whether numbers are equal but for rounding; where one that was computed is not finite, nothing is asked."""
    with np.errstate(all="ignore"):
        close = np.abs(stored - computed) <= _CLOSE * np.abs(computed) + room
    return bool(np.all(close | ~np.isfinite(computed)))


def _must(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)
