"""The state of stream detectors: what `evtkit.spot` has learnt of each stream, and nothing of how users see it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from evtkit._common.threads import for_each, pieces
from evtkit._kernels import streams as kernels
from evtkit._kernels import tail_columns as columns
from evtkit._kernels.follow import unroll
from evtkit._kernels.stream_tail import FEW, begin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float, Int

__all__ = ["Rules", "Streams"]


_CUTS = (0.02, 0.1, 0.9, 0.98)  # quantiles of the deviations to which values are cut that enter a window: the inner two
_NARROW = 0.25  # unless these are so near each other, in units of the distance of the outer two
_ROUNDS = 20  # in which the mean of cut values is found
_GAINS = (1.0, 0.5, 0.25)  # how much of a deviation the centre of a ramp may take over
_SHARP = 0.6  # distance of the 99 % from the 90 % quantile in units of that from the 90 % quantile to the median, below
# which deviations seem to end there (normal: 0.8, uniform with the noise of its centre: 0.3 to 0.5)
_DIGITS = 48  # binary digits that its deviations may have, counted from the largest value
_BETTER = 0.85  # if deviations are then so much less than from the mean of the window
_ALONE = 0.9  # if they are not so much less, values do not depend on each other
_RARE = [columns.RARE, columns.REFUSED, columns.CALM, columns.COUNTED]
_FOLLOWING = [columns.STATUS, columns.FRESH, columns.FOLLOWED, columns.LOOSE, columns.SINCE]


@dataclass(frozen=True)
class Rules:
    """How observations are judged, as the kernels want it."""

    signs: Float
    """Of the tails of a stream: 1 for an upper one, −1 for a lower one."""
    risk: float
    """Of one tail."""
    min_excess: int
    policy: int
    """What is learnt of an alarm: `_tail_stream.IGNORE`, `IMPUTE` or `LEARN`."""
    law: int
    """Which law gives the level: `follow.PLUG_IN` or `PREDICTIVE`."""
    share: float
    """Of the observations beyond the threshold, where it rises to that; 0 where it stays."""
    n_threads: int | None


@dataclass
class Streams:
    """Streams, each with one or two tails side by side; see `evtkit._kernels.tail_columns` for the columns.

    Attributes
    ----------
    floats, integers : ndarray, shape (tails, columns)
        The model of each tail.
    rings : ndarray, shape (tails, max_excess)
        The values kept, times the tail's sign.
    n : ndarray, shape (streams,)
        Observations learnt.
    windows : ndarray, shape (streams, depth)
        The latest values learnt, whose mean is subtracted from the next; no columns without that.
    totals, places : ndarray, shape (streams, 2), (streams,)
        Their sums, in two parts, and where the windows go on.
    runs : ndarray, shape (streams, 3)
        Alarms in a row, up to the latest observation; for how long a moving stream is followed yet, and since it stays.
    moves : ndarray, shape (streams, 8)
        Where a stream is held, and how far it may be from there; see `kernels.advance`.
    """

    floats: Float
    integers: Int
    rings: Float
    n: Int
    windows: Float
    totals: Float
    places: Int
    runs: Int
    moves: Float

    @classmethod
    def empty(cls, streams: int, sides: int, capacity: int, depth: int) -> Self:
        """Streams that have seen nothing."""
        tails = streams * sides
        return cls(
            floats=np.zeros((tails, columns.FLOATS)),
            integers=np.zeros((tails, columns.INTEGERS), np.int64),
            rings=np.empty((tails, capacity)),
            n=np.zeros(streams, np.int64),
            windows=np.zeros((streams, depth)),
            totals=np.zeros((streams, 2)),
            places=np.zeros(streams, np.int64),
            runs=np.zeros((streams, 3), np.int64),
            moves=np.zeros((streams, kernels.MOVES)),
        )

    def copy(self) -> Self:
        """The same, with arrays of its own."""
        return type(self)(**{field.name: getattr(self, field.name).copy() for field in fields(self)})

    def __len__(self) -> int:
        return len(self.n)

    @property
    def depth(self) -> int:
        """Values whose mean is subtracted, or 0."""
        return int(self.windows.shape[1])

    @property
    def centres(self) -> Float:
        """What is subtracted from the next observation of each stream, shape (streams,)."""
        if not self.depth:
            return np.zeros(len(self))
        held = (self.moves[:, kernels.TOLERANCE] > 0.0) & (self.runs[:, kernels.MOVING] == 0)
        return np.where(held, self.moves[:, kernels.HELD], self.totals.sum(axis=1) / self.depth)

    @property
    def doubts(self) -> Float:
        """By how much each stream is judged more leniently while its centre is new, shape (streams,)."""
        rows = range(len(self)) if self.depth else ()
        doubts = [kernels.doubt(c, self.depth, self.runs, self.moves) for c in rows]
        return np.array(doubts or np.zeros(len(self)))

    def deviations(self, x: Float) -> Float:
        """Of values (rows, streams) from the centres."""
        out = x - self.centres
        for c in np.flatnonzero(self.moves[:, kernels.GRAIN] > 0.0):
            grain = self.moves[c, kernels.GRAIN]
            out[:, c] = grain * np.rint(out[:, c] / grain)
        return out

    def centred(self, x: Float, c: int, *, hold: bool, usual: NDArray[np.bool_] | None = None) -> Float:
        """Fill the window of stream c with the first values of x, and then with the usual ones among the others.

        Returns the deviations of those others from the centres of their moments; without a window, x. With `hold`, a
        stream that stays has one centre, the mean of x cut to where most values lie. A ramp, which has nearly all
        values on one side of the window's mean, is followed as closely as its values depend on the latest ones: those
        of a counter, say, on the last. So are those with a sharp end, which the noise of any other centre would move.
        """
        if not self.depth:
            return x
        out, x = np.empty(len(x) - self.depth), x.copy()
        usual = np.ones(len(out), dtype=np.bool_) if usual is None else usual

        def fill() -> None:
            kernels.deviations(x, usual, self.windows, self.totals, self.places, self.runs, self.moves, c, out)

        self.moves[c] = 0.0
        fill()
        if hold:
            lowest, low, high, highest = np.quantile(out[usual], _CUTS)
            if high - low < _NARROW * (highest - lowest):  # most values are next to equal
                low, high = lowest, highest
            if self._follow_ramp(x, usual, c, low, high, out):
                return out
            values, first = x[self.depth :][usual], x[: self.depth]
            centre = values.mean()
            if low < 0.0 < high:  # not where a stream only rises or falls
                for _ in range(_ROUNDS):
                    centre += np.clip(values - centre, low, high).mean()
                first[:] = np.median(first) + np.clip(first - np.median(first), low, high)
            spread = np.clip(out[usual], low, high).std()
            tolerance = kernels.TOLERATED * spread / np.sqrt(self.depth)
            self.moves[c] = centre, tolerance, low, high, 0.0, 0.0, kernels.MOVED, centre
            fill()
        return out

    def _follow_ramp(self, x: Float, usual: NDArray[np.bool_], c: int, low: float, high: float, out: Float) -> bool:
        """Centre a ramp on its latest values; False if this is none, or is followed better by its window.

        Deviations, left in out, spread less than from the window's mean where values depend on the latest ones. They
        may spread a little more where they do not: the mean of a window lags behind, and wanders. A sharp end of the
        deviations wanders with it, so that a calibration hardly shows what lies beyond. It is smooth when the centre
        has noise enough.
        """
        first, second = np.array_split(np.concatenate([x[: self.depth], x[self.depth :][usual]]), 2)
        rise, error = np.median(second) - np.median(first), 2.0 * out[usual].std() / np.sqrt(x.size)
        is_steep = rise > low > 0.0 or rise < high < 0.0
        is_sharp = _sharpness(out[usual]) < _SHARP
        if (
            not is_steep
            and not abs(second.mean() - first.mean()) > (0.5 if is_sharp else 1.0) * kernels.TOLERATED * error
        ):
            return False
        grain = 2.0 ** np.ceil(np.log2(np.abs(x).max()) - _DIGITS)

        def spread() -> float:
            lowest, highest = np.quantile(out[usual], [_CUTS[0], _CUTS[3]])
            return float(highest - lowest)

        def spread_with(gain: float) -> float:
            self.moves[c] = (x[0], 1.0, 0.0, 0.0, gain, grain, 0.0, 0.0) if gain > 0.0 else 0.0
            kernels.deviations(x, usual, self.windows, self.totals, self.places, self.runs, self.moves, c, out)
            return spread()

        before = spread()
        least, best = min((spread_with(gain), -gain) for gain in _GAINS)
        if is_steep and least <= _BETTER * before:
            spread_with(-best)
            return True
        if (is_steep and not is_sharp) or least < _ALONE * before:
            spread_with(0.0)
            return False
        for gain in reversed(_GAINS):
            if spread_with(gain) == 0.0 or not is_sharp or _sharpness(out[usual]) >= _SHARP:
                break
        return True

    def begin(self, c: int, deviations: Float, quantile: float, rules: Rules) -> None:
        """Start the tails of stream c."""
        self.n[c] = len(deviations)
        place = int(quantile * len(deviations))
        if rules.share > 0.0:
            place = max(min(place, len(deviations) - 1 - self._fewest(len(deviations))), len(deviations) // 2)
        for s, sign in enumerate(rules.signs.tolist()):
            t = c * len(rules.signs) + s
            level = np.partition(sign * deviations, place)[place]
            grid = _step(sign * deviations, level) if rules.share > 0.0 else 0.0
            begin(deviations, sign, level, grid, self.floats[t], self.integers[t], self.rings[t])

    def _fewest(self, n: int) -> int:
        """Excesses that a calibration on n observations begins with, if the quantile leaves fewer."""
        return min(int(FEW), int(self.rings.shape[1]) // 3, n // 10)

    def run(self, values: Float, rules: Rules, levels: Float, scores: Float, *, every: bool = True) -> NDArray[np.int8]:
        """Judge and learn values (observations, streams): labels of that shape. See `kernels.run`."""
        labels = np.zeros(values.shape, dtype=np.int8)

        def work(part: slice) -> None:
            kernels.run(
                values, part.start, part.stop, labels, self.floats, self.integers, self.rings, self.n, rules.signs,
                rules.risk, rules.min_excess, rules.policy, rules.law, rules.share, self.windows, self.totals,
                self.places, self.runs, self.moves, levels, scores, every,
            )  # fmt: skip

        if len(self) == 1:
            work(slice(0, 1))
        else:
            for_each(work, pieces(len(self), max(1, len(values)), rules.n_threads), rules.n_threads)
        return labels

    def refitted(self, rules: Rules) -> tuple[Float, Int]:
        """The models with their fits up to date. Copies: looking at a detector must not change what it will do."""
        floats, integers = self.floats.copy(), self.integers.copy()

        def work(part: slice) -> None:
            kernels.refit_all(part.start, part.stop, floats, integers, self.rings, rules.risk, rules.min_excess,
                               rules.law)  # fmt: skip

        for_each(work, pieces(len(floats), self.rings.shape[1], rules.n_threads), rules.n_threads)
        return floats, integers

    def excesses(self, t: int) -> Float:
        """The excesses that tail t keeps, the oldest first."""
        out = np.empty(self.rings.shape[1] + 1)
        return out[: unroll(self.floats[t], self.integers[t], self.rings[t], out)]

    # -- as plain values -----------------------------------------------------------------------------------------------

    def to_list(self) -> list[dict[str, Any]]:
        """All that has been learnt, a dict a stream, of numbers and lists."""
        sides = len(self.floats) // len(self)
        out = []
        for c in range(len(self)):
            stream = {"n": int(self.n[c]), "tails": [self._tail(t) for t in range(c * sides, (c + 1) * sides)]}
            stream["run"], stream["moves"] = self.runs[c].tolist(), self.moves[c].tolist()
            if self.depth:
                stream["window"] = self.windows[c].tolist()
                stream["sum"], stream["place"] = self.totals[c].tolist(), int(self.places[c])
            out.append(stream)
        return out

    def _tail(self, t: int) -> dict[str, Any]:
        chosen = [columns.HEAD, columns.SIZE, columns.TOTAL, columns.SEEN, columns.IMPUTED]
        head, size, total, seen, imputed = self.integers[t, chosen].tolist()
        kept = np.roll(self.rings[t], -head) if size == self.rings.shape[1] else self.rings[t, :size]
        return {
            "threshold": float(self.floats[t, columns.U]), "n": seen, "n_excess": total, "imputed": imputed,
            "rare": self.integers[t, _RARE].tolist(), "kept": kept.tolist(),
            # what a fit of the excesses would give, but for its last bits
            "followed": [value if np.isfinite(value) else repr(value) for value in self.floats[t].tolist()],
            "states": self.integers[t, _FOLLOWING].tolist(),
        }  # fmt: skip

    @classmethod
    def from_list(cls, streams: list[dict[str, Any]], sides: int, capacity: int, depth: int) -> Self:
        """What `to_list` described."""
        self = cls.empty(len(streams), sides, capacity, depth)
        for c, stream in enumerate(streams):
            self.n[c], self.runs[c], self.moves[c] = stream["n"], stream["run"], stream["moves"]
            if depth:
                self.windows[c], self.totals[c], self.places[c] = stream["window"], stream["sum"], stream["place"]
            for s, tail in enumerate(stream["tails"]):
                t, size = c * sides + s, len(tail["kept"])
                self.floats[t] = [float(value) for value in tail["followed"]]
                self.integers[t, _FOLLOWING], self.integers[t, _RARE] = tail["states"], tail["rare"]
                self.floats[t, columns.U], self.rings[t, :size] = tail["threshold"], tail["kept"]
                chosen = [columns.HEAD, columns.SIZE, columns.TOTAL, columns.SEEN, columns.IMPUTED]
                self.integers[t, chosen] = size % capacity, size, tail["n_excess"], tail["n"], tail["imputed"]
        return self


def _sharpness(x: Float) -> float:
    """How far the last percent reach at the end where they reach least, in units of how far the bulk does."""
    q01, q10, q50, q90, q99 = np.quantile(x, [0.01, 0.1, 0.5, 0.9, 0.99])
    return min(_ratio(q10 - q01, q50 - q10), _ratio(q99 - q90, q90 - q50))


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0.0 else np.inf


def _step(x: Float, threshold: float) -> float:
    """The step between the values above a threshold if they are rounded, so that some of them are equal; else 0."""
    values, times = np.unique(x[x > threshold], return_counts=True)
    if len(values) < 2 or times.sum() < 1.1 * len(values):
        return 0.0
    steps = np.diff(values, prepend=threshold)
    return float(steps.min())
