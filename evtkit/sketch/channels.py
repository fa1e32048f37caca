"""TailSketch: what a tail model needs of a stream, in one pass and bounded memory, mergeable and exact."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array, whole_number
from evtkit._common.files import arrays_from_bytes, arrays_to_bytes, read_arrays, write_arrays
from evtkit._common.frames import check_names, frame_labels, joined_names
from evtkit._common.threads import chunks, for_each, pieces, thread_count
from evtkit._moments import empty_state, join, mean_and_variance
from evtkit.sketch.fitting import fit_kept
from evtkit.tail.stored import check_sketch

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.tail import Tail

__all__ = ["TailSketch"]

_MOST = 1 << 30  # channels, and values kept of each: places in a row are 32-bit integers
_AT_A_TIME = 1 << 16  # values looked at together


class TailSketch:
    """The k largest values of every channel of a stream, exactly, with count, mean, variance and minimum.

    Blocks of any size go in by `update`; sketches of parts of a stream, filled anywhere, are joined by `merge`; `fit`
    makes the `Tail` that `fit_tail` would have made of all the data at once. The k largest, and so every fit, are the
    same to the last bit however the stream was cut and joined and on however many threads, and so are mean and
    variance: sketches of the same observations have equal bytes.

    Parameters
    ----------
    n_channels : int
        Channels.
    capacity : int, optional
        k, how many of the largest values of a channel are kept. A fit at quantile q of n observations needs
        n − floor(q n); one with `n_excess` needs n_excess + 1. None keeps all values, where nobody knows how many there
        will be: rows grow with the data, and every fit is open.
    dtype : dtype
        float64, or float32 to halve the memory for float32 data.
    nonfinite : str
        What to do with NaN and infinities: "raise" a ValueError, or leave them out and "count" them.
    n_threads : int, optional
        Default EVTKIT_NUM_THREADS or all processors.

    Attributes
    ----------
    count : ndarray of int64, shape (channels,)
        Finite observations seen.
    nonfinite_count : ndarray of int64, shape (channels,)
        Observations left out.
    names : ndarray of str, shape (channels,), or None
        Names of the channels: those of the columns of the first data frame.

    Notes
    -----
    Memory grows with what is kept, up to ``channels × (capacity · 1.25 + 80 … 272)`` values of `dtype`, plus 24
    numbers a channel and a workspace a thread; then nothing grows with the stream. A pickle holds what `save` writes:
    sketches of equal content have equal pickles.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import TailSketch
    >>> rng = np.random.default_rng(0)
    >>> sketch = TailSketch(n_channels=3, capacity=200)
    >>> for _ in range(10):
    ...     sketch.update(rng.standard_exponential((100, 3)))
    >>> sketch.fit(quantile=0.9).xi.shape
    (3,)
    """

    def __init__(
        self,
        n_channels: int,
        capacity: int | None = None,
        *,
        dtype: DTypeLike = np.float64,
        nonfinite: str = "raise",
        n_threads: int | None = None,
    ) -> None:
        from evtkit._kernels.sketch import spare_slots

        whole_number(n_channels, "n_channels", 1, _MOST)
        if capacity is not None:
            capacity = whole_number(capacity, "capacity", 1, _MOST)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}")
        if nonfinite not in ("raise", "count"):
            raise ValueError(f"nonfinite must be 'raise' or 'count', got {nonfinite!r}")
        if n_threads is not None:
            thread_count(n_threads)
        self.n_channels, self.capacity = int(n_channels), capacity
        self.nonfinite, self.n_threads = nonfinite, n_threads
        self._limit = _MOST if capacity is None else capacity
        self._spare = int(spare_slots(self._limit))
        self.count = np.zeros(self.n_channels, dtype=np.int64)
        self.nonfinite_count = np.zeros(self.n_channels, dtype=np.int64)
        self._moments = empty_state(self.n_channels)
        self._minimum = np.full(self.n_channels, np.inf, dtype=self.dtype)
        self._rows = np.empty((self.n_channels, 0), dtype=self.dtype)
        self._fill = np.zeros(self.n_channels, dtype=np.int64)
        self._cutoff = np.full(self.n_channels, -np.inf, dtype=self.dtype)
        self._scale = np.zeros(self.n_channels, dtype=self.dtype)
        self._ordered = True
        self.names: NDArray[np.str_] | None = None

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def mean(self) -> Float:
        """Mean of each channel's observations, NaN before the first."""
        return mean_and_variance(self._moments, self.count)[0]

    @property
    def variance(self) -> Float:
        """Variance with ddof = 1, 0 for a single observation, NaN before the first."""
        return mean_and_variance(self._moments, self.count)[1]

    @property
    def std(self) -> Float:
        """Square root of `variance`."""
        return np.sqrt(self.variance)

    @property
    def minimum(self) -> Float:
        """Smallest observation of each channel, NaN before the first."""
        return np.where(self.count > 0, self._minimum.astype(np.float64), np.nan)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    def largest(self) -> NDArray[Any]:
        """The largest observations, shape (channels, min(most seen, capacity)), ascending, NaN in front of fewer."""
        self._order()
        return self._top(int(self._fill.max()))

    # -- data in -----------------------------------------------------------------------------------------------------

    def update(self, block: ArrayLike) -> None:
        """Take in a block of observations.

        Parameters
        ----------
        block : array_like, shape (rows, channels)
            Any number of rows. The columns of data frames must have the same names every time. A float64 block does not
            go into a float32 sketch: it would be rounded. Masked entries of a masked array count as NaN.

        Raises
        ------
        ValueError
            If the shape, names or type are wrong, or (with ``nonfinite="raise"``) a value is NaN or infinite; the
            sketch is then as it was.
        """
        given = frame_labels(block)
        if given is not None:
            check_names(given.channels, self.names, "block")
        values = self._checked(block)
        if values.shape[0] == 0:
            return
        fresh = np.full(self.n_channels, values.shape[0])
        if not self._take_in(values):
            values, fresh = self._without_nonfinite(values)
            least = np.where(np.isnan(values), np.array(np.inf, dtype=self.dtype), values + 0.0).min(axis=0)
            least = np.minimum(self._minimum, least)
            self._take_in(np.nan_to_num(values), keep=False)
            self._minimum = least.astype(self.dtype, copy=False)
            self._keep(values)
        if given is not None and self.names is None:
            self.names = given.names
        self.count = self.count + fresh

    def merge(self, other: TailSketch) -> None:
        """Take in all that another sketch has seen; the other one's kept values are put in order, else it is unchanged.

        Raises
        ------
        ValueError
            If channels, their names, capacity or dtype differ.
        """
        mine, theirs = (self.n_channels, self.capacity, self.dtype), (other.n_channels, other.capacity, other.dtype)
        if mine != theirs:
            raise ValueError(f"sketches must agree in channels, capacity and dtype, got {theirs} for {mine}")
        if other is self:
            raise ValueError("a sketch cannot be merged into itself")
        if other.names is not None:
            check_names(other.names.tolist(), self.names, "the other sketch")
            self.names = other.names
        block = other.largest()
        self._moments, self.count = join(self._moments, other._moments), self.count + other.count
        self.nonfinite_count += other.nonfinite_count
        np.minimum(self._minimum, other._minimum, out=self._minimum)
        for piece in chunks(block.shape[1], 1024):
            part = np.ascontiguousarray(block[:, piece].T)
            self._keep(part)

    @classmethod
    def concat(cls, sketches: Sequence[TailSketch]) -> TailSketch:
        """One sketch of the channels of several, in their order: of parts of a grid, say.

        Raises
        ------
        ValueError
            If there is none; capacity, dtype or the treatment of what is not finite differ; only some have names, or a
            name stands in two.
        """
        parts = list(sketches)
        if not parts:
            raise ValueError("sketches must be one or more, got none")
        kinds = sorted({(str(p.capacity), str(p.dtype), p.nonfinite) for p in parts})
        if len(kinds) > 1:
            raise ValueError(f"sketches must agree in capacity, dtype and nonfinite, got {kinds[0]} and {kinds[1]}")
        names = joined_names([p.names for p in parts])
        stored = [p.to_arrays()[0] for p in parts]
        arrays = {name: np.concatenate([one[name] for one in stored]) for name in stored[0] if name != "names"}
        if names is not None:
            arrays["names"] = names
        return cls.from_arrays(arrays, parts[0].to_arrays()[1], n_threads=parts[0].n_threads)

    # -- a model out -------------------------------------------------------------------------------------------------

    def fit(
        self,
        *,
        quantile: float | None = None,
        threshold: ArrayLike | None = None,
        n_excess: int | None = None,
        method: str = "mle",
        resolution: float | None = None,
        clean: bool | None = None,
    ) -> Tail:
        """Fit a tail to each channel: `fit_tail` of all observations seen. Give one of the first three, or none.

        Parameters
        ----------
        quantile, threshold, n_excess, method, resolution
            As in `fit_tail`.
        clean : None or False
            None leaves gross outliers out where no rule for the threshold is given, as in `fit_tail`; with a capacity
            below a fifth of the observations fewer are found, and below a half, of data in uneven steps, others. False
            fits to all. The mean and the standard deviation of the others are exact to 2⁻⁵⁰ of the largest magnitude
            seen.

        Returns
        -------
        Tail
            Without the sample below the kept values, so `Tail.sf` is only bounded there.

        Raises
        ------
        ValueError
            If nothing was seen, the fit needs more than `capacity` values of a channel, or as in `fit_tail`.
        """
        if not np.any(self.count > 0):
            raise ValueError(f"the sketch has seen no observation in any of its {self.n_channels} channels")
        if (given := frame_labels(threshold)) is not None:
            check_names(given.channels, self.names, "threshold")
        return fit_kept(self, self._moments, self.names, quantile, threshold, n_excess, method, resolution, clean)

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an .npz file, atomically; a loaded sketch goes on as this one would."""
        write_arrays(path, "TailSketch", *self.to_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, n_threads: int | None = None) -> TailSketch:
        """Read what `save` wrote. Raises ValueError if the file is anything else, damaged or contradicts itself."""
        return cls.from_arrays(*read_arrays(path, "TailSketch", check_sketch), n_threads=n_threads)

    def to_bytes(self) -> bytes:
        """What `save` writes, as bytes: equal for sketches of the same observations, however they were filled."""
        return arrays_to_bytes("TailSketch", *self.to_arrays())

    @classmethod
    def from_bytes(cls, data: bytes, *, n_threads: int | None = None) -> TailSketch:
        """Read what `to_bytes` made. Errors as in `load`."""
        return cls.from_arrays(*arrays_from_bytes(data, "TailSketch", check_sketch), n_threads=n_threads)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """All that `save` writes, as arrays and plain values: to be a part of larger files."""
        arrays = {
            "largest": self._in_one_row(),
            "count": self.count,
            "nonfinite_count": self.nonfinite_count,
            "moments": self._moments,
            "minimum": self._minimum,
        }
        if self.names is not None:
            arrays["names"] = self.names
        return arrays, {"capacity": self.capacity, "nonfinite": self.nonfinite}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any], *, n_threads: int | None = None
    ) -> TailSketch:
        """The sketch that `to_arrays` described. Raises ValueError if these are anything else."""
        check_sketch(arrays, values)
        sketch = cls.__new__(cls)
        sketch._restore(arrays, values, n_threads)
        return sketch

    def __getstate__(self) -> dict[str, Any]:
        # As text and bytes: a pickle of the arrays would depend on which of their names and types are one object.
        arrays, values = self.to_arrays()
        form = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
        data = b"".join(array.tobytes() for array in arrays.values())
        return {"form": json.dumps([form, values]), "data": data, "n_threads": self.n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        form, values = json.loads(state["form"])
        data, start, arrays = bytearray(state["data"]), 0, {}
        for name, (dtype, shape) in form.items():
            size = math.prod(shape)
            arrays[name] = np.frombuffer(data, dtype, size, start).reshape(shape)
            start += arrays[name].nbytes
        self._restore(arrays, values, state["n_threads"])

    def _restore(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any], n_threads: int | None) -> None:
        largest, count = arrays["largest"], arrays["count"]
        TailSketch.__init__(self, len(count), values["capacity"], dtype=largest.dtype, nonfinite=values["nonfinite"],
                            n_threads=n_threads)  # fmt: skip
        kept = np.minimum(count, self._limit)
        self._make_room(int(kept.max()))
        stop = np.cumsum(kept)
        for channel, (first, last) in enumerate(zip((stop - kept).tolist(), stop.tolist(), strict=True)):
            self._rows[channel, : last - first] = largest[first:last]
        self._fill[:] = kept
        full = kept == self._limit
        self._cutoff[full] = self._rows[full, 0]
        self.count, self.nonfinite_count = arrays["count"], arrays["nonfinite_count"]
        self._moments, self._minimum = arrays["moments"], arrays["minimum"]
        self.names = arrays.get("names")

    def __repr__(self) -> str:
        least, most = self.count.min(), self.count.max()
        seen = f"{least}" if least == most else f"{least}–{most}"
        kept = "all" if self.capacity is None else f"the {self.capacity} largest"
        left_out = f", {self.nonfinite_count.sum()} left out" if self.nonfinite_count.any() else ""
        return (
            f"TailSketch({self.n_channels} channels, {kept} of {seen} observations each"
            f"{left_out}, {self.dtype}, {self.nbytes / 2**20:.1f} MiB)"
        )

    # -- what a fit looks at -----------------------------------------------------------------------------------------

    def _top(self, width: int) -> NDArray[Any]:
        self._order()
        out = np.full((self.n_channels, width), np.nan, dtype=self.dtype)
        least, most = int(self._fill.min()), int(self._fill.max())
        if least == most and least >= width:
            out[:] = self._rows[:, most - width : most]
            return out
        for channel, kept in enumerate(self._fill.tolist()):
            some = min(kept, width)
            out[channel, width - some :] = self._rows[channel, kept - some : kept]
        return out

    def _above(self, levels: Float) -> Int:
        self._order()
        there = np.arange(self._rows.shape[1]) < self._fill[:, None]
        return np.asarray(np.count_nonzero((self._rows > levels[:, None]) & there, axis=1))

    def _lowest(self) -> Float:
        self._order()
        return np.where(self._fill > 0, self._rows[:, 0].astype(np.float64), np.nan)

    def _in_one_row(self) -> NDArray[Any]:
        """The largest values of the channels, ascending, one channel behind the other."""
        self._order()
        return np.concatenate([row[:kept] for row, kept in zip(self._rows, self._fill.tolist(), strict=True)])

    # -- inside ------------------------------------------------------------------------------------------------------

    def _checked(self, block: ArrayLike) -> NDArray[Any]:
        values = real_array(block, "block", narrow=True)
        if values.ndim != 2 or values.shape[1] != self.n_channels:
            raise ValueError(f"a block must have shape (rows, {self.n_channels}), got {values.shape}")
        if values.dtype.itemsize > self.dtype.itemsize:
            raise ValueError(
                f"a block must be {self.dtype}, as the sketch is, got {values.dtype}; cast it, or use dtype=np.float64"
            )
        values = np.require(values, self.dtype, "A")
        return values if self.dtype.itemsize in values.strides else np.ascontiguousarray(values)

    def _take_in(self, values: NDArray[Any], *, keep: bool = True) -> bool:
        """Moments, minima and the largest of a block; False, and the sketch is as it was, if not all is finite."""
        from evtkit._kernels.sketch import rows_at_a_time

        rows = values.shape[0]
        if rows > rows_at_a_time(self._limit) and not all(
            np.isfinite(values[piece]).all() for piece in chunks(rows, max(1, _AT_A_TIME // self.n_channels))
        ):
            return False
        moments, low = np.empty_like(self._moments), self._minimum.copy()
        added = self._update(values, moments, low, keep=keep)
        if added is None:
            return False
        self._moments, self._minimum, self._fill = moments, low, self._fill + added
        return True

    def _update(self, block: NDArray[Any], moments: Int, low: NDArray[Any], *, keep: bool = True) -> Int | None:
        """How many values each row has gained, behind those that it had; None if the block is not finite."""
        from evtkit._kernels.sketch import update

        added, finite, rows = np.zeros_like(self._fill), [], self._rows[:, :0]
        if keep:
            self._ordered = False
            self._make_room(int(self._fill.max()) + block.shape[0])
            rows = self._rows

        def work(p: slice) -> None:
            state = moments, low, rows, self._fill, added, self._cutoff, self._scale
            finite.append(update(block, p.start, p.stop, self._limit, self._moments[: len(moments)], *state))

        for_each(work, pieces(self.n_channels, block.shape[0], self.n_threads), self.n_threads)
        return added if all(finite) else None

    def _without_nonfinite(self, values: NDArray[Any]) -> tuple[NDArray[Any], Int]:
        """A block with NaN for all that is not finite, and the numbers of the rest; or a ValueError."""
        finite = np.isfinite(values)
        if self.nonfinite == "raise":
            row, channel = np.argwhere(~finite)[0].tolist()
            raise ValueError(
                f"observations must be finite, got {values[row, channel]} in row {row} of channel {channel}; "
                "TailSketch(…, nonfinite='count') leaves such values out"
            )
        fresh = np.count_nonzero(finite, axis=0)
        self.nonfinite_count += values.shape[0] - fresh
        return np.where(finite, values, np.array(np.nan, dtype=self.dtype)), fresh

    def _keep(self, block: NDArray[Any]) -> None:
        """Only what is among the largest; NaN is nothing."""
        added = self._update(block, self._moments[:0], self._minimum.copy())
        assert added is not None
        self._fill = self._fill + added

    def _make_room(self, values: int) -> None:
        """Widen the rows to hold so many values, or as many as they ever need; by doubling, so that it is seldom."""
        most = self._limit + self._limit // 4 + self._spare
        if (width := self._rows.shape[1]) >= min(most, values + self._spare):
            return
        wide = max(values + self._spare, 2 * width)
        wide = most if 2 * wide > most else wide  # that would be the next step
        rows = np.empty((self.n_channels, wide), dtype=self.dtype)
        held = int(self._fill.max())
        rows[:, :held] = self._rows[:, :held]
        self._rows = rows

    def _order(self) -> None:
        if self._ordered:
            return
        from evtkit._kernels.sketch import order_largest

        for_each(
            lambda p: order_largest(self._rows, p.start, p.stop, self._limit, self._fill, self._cutoff),
            pieces(self.n_channels, self._rows.shape[1], self.n_threads),
            self.n_threads,
        )
        self._ordered = True
