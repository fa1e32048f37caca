"""GroupSketch: a sketch a key, of long tables: keys may come at any time, and each takes the room that it needs."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array, whole_number
from evtkit._common.files import arrays_from_bytes, arrays_to_bytes, read_arrays, write_arrays
from evtkit._common.schema import MANY, Array, check_arrays
from evtkit._common.schema import keys as check_keys
from evtkit._common.threads import chunks, for_each, thread_count
from evtkit._moments import empty_state, join, mean_and_variance
from evtkit.sketch.fitting import fit_kept
from evtkit.tail.stored import check_rows, check_settings, check_summary

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.tail import Tail

__all__ = ["GroupSketch"]

_MOST = 1 << 30  # values kept of a key
_WAITING = 1 << 18  # values that may wait to be sorted in, at least
_PIECE = 1 << 10  # keys that a thread does together

_SCHEMA = {
    "keys": Array("U i8", "keys"),
    "count": Array("i8", "keys", low=0, high=MANY),
    "nonfinite_count": Array("i8", "keys", low=0, high=MANY),
    "largest": Array("f4 f8", "kept"),
    "moments": Array("i8", "cut numbers", low=-MANY, high=MANY),
    "minimum": Array("f4 f8", "cut"),
}


class GroupSketch:
    """The largest values of every key of a long table, exactly, with count, mean, variance and minimum.

    Blocks of keys and values go in by `update`, in any order, with new keys at any time; sketches of parts of a table
    are joined by `merge`, key by key; `fit` makes a `Tail` of one channel a key, each as `fit_tail` of the values of
    that key alone would have been, to the last bit.

    Parameters
    ----------
    capacity : int, optional
        How many of the largest values of a key are kept, at most; a key with fewer takes the room of those it has. None
        keeps all values, so that every fit is open, whatever number of them comes. See `TailSketch`.
    dtype : dtype
        float64, or float32 to halve the memory for float32 data.
    nonfinite : str
        What to do with NaN and infinities: "raise" a ValueError, or leave them out and "count" them.
    n_threads : int, optional
        Default EVTKIT_NUM_THREADS or all processors.

    Notes
    -----
    Keys are text or whole numbers, in ascending order. Memory: the values kept, up to as many again that wait to be
    sorted in, and 25 numbers a key. A pickle, and what `save` and `to_bytes` write, holds the values kept, two numbers
    and the name of each key, and 20 more only of keys with more values than are kept. It is the same for
    sketches of the same observations, however these were cut, ordered and joined.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import GroupSketch
    >>> rng = np.random.default_rng(0)
    >>> sketch = GroupSketch(capacity=100)
    >>> sketch.update(rng.choice(["a", "b"], 1000), rng.standard_exponential(1000))
    >>> sketch.update("c", [1.0, 2.0, 3.0])
    >>> sketch
    GroupSketch(3 keys, the 100 largest of 3–537 observations each, float64)
    >>> sketch.fit(n_excess=50).names
    array(['a', 'b', 'c'], dtype='<U1')
    """

    def __init__(
        self,
        capacity: int | None = None,
        *,
        dtype: DTypeLike = np.float64,
        nonfinite: str = "raise",
        n_threads: int | None = None,
    ) -> None:
        self.capacity = None if capacity is None else whole_number(capacity, "capacity", 1, _MOST)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}")
        if nonfinite not in ("raise", "count"):
            raise ValueError(f"nonfinite must be 'raise' or 'count', got {nonfinite!r}")
        if n_threads is not None:
            thread_count(n_threads)
        self.nonfinite, self.n_threads = nonfinite, n_threads
        self._keys: NDArray[Any] = np.empty(0, dtype=np.str_)
        self._count, self._left_out = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._moments, self._minimum = empty_state(0), np.empty(0, dtype=self.dtype)
        self._values = np.empty(0, dtype=self.dtype)
        self._waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._n_waiting = 0

    # -- what it knows -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def keys(self) -> NDArray[Any]:
        """The keys seen, in ascending order: text, or whole numbers."""
        self._settle()
        return self._keys

    @property
    def count(self) -> Int:
        """Finite observations of each key."""
        self._settle()
        return self._count

    @property
    def nonfinite_count(self) -> Int:
        """Observations of each key that were left out."""
        self._settle()
        return self._left_out

    @property
    def mean(self) -> Float:
        """Mean of each key's observations, NaN of none."""
        return mean_and_variance(self._moments, self.count)[0]

    @property
    def variance(self) -> Float:
        """Variance with ddof = 1, 0 for a single observation, NaN of none."""
        return mean_and_variance(self._moments, self.count)[1]

    @property
    def std(self) -> Float:
        """Square root of `variance`."""
        return np.sqrt(self.variance)

    @property
    def minimum(self) -> Float:
        """Smallest observation of each key, NaN of none."""
        return np.where(self.count > 0, self._minimum.astype(np.float64), np.nan)

    @property
    def nbytes(self) -> int:
        """Bytes held, those of values that wait to be sorted in included."""
        own = sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))
        return own + sum(keys.nbytes + values.nbytes for keys, values in self._waiting)

    def largest(self, key: str | int) -> NDArray[Any]:
        """The largest observations of one key, ascending. Raises ValueError if it was never seen."""
        at = np.flatnonzero(self.keys == key)
        if not at.size:
            raise ValueError(f"key must be one that was seen, got {key!r}")
        stop = np.cumsum(self._kept())[at[0]]
        return self._values[stop - self._kept()[at[0]] : stop].copy()

    # -- data in -----------------------------------------------------------------------------------------------------

    def update(self, keys: ArrayLike, values: ArrayLike) -> None:
        """Take in rows of a long table.

        Parameters
        ----------
        keys : array_like of str or int, shape (rows,), or one of them
            The key of each value, or of all.
        values : array_like, shape (rows,)
            Any number of them. float64 values do not go into a float32 sketch: they would be rounded.

        Raises
        ------
        ValueError
            If keys are missing, neither text nor whole numbers, or of another kind than before; shapes or types are
            wrong; or (with ``nonfinite="raise"``) a value is NaN or infinite. The sketch is then as it was.
        """
        x = real_array(values, "values", narrow=True)
        if x.ndim != 1:
            raise ValueError(f"values must have shape (rows,), got {x.shape}")
        if x.dtype.itemsize > self.dtype.itemsize:
            raise ValueError(
                f"values must be {self.dtype}, as the sketch is, got {x.dtype}; cast them, or use dtype=np.float64"
            )
        names = _as_keys(keys)
        if names.shape not in ((), x.shape):
            raise ValueError(f"keys must be one or have shape {x.shape}, as values have, got {names.shape}")
        if names.size and (known := self._kind()) and names.dtype.kind != known:
            raise ValueError(
                f"keys must be {'text' if known == 'U' else 'whole numbers'}, as before, got {names.dtype}"
            )
        if self.nonfinite == "raise" and not np.all(fine := np.isfinite(x)):
            row = int(np.argmin(fine))
            raise ValueError(
                f"values must be finite, got {x[row]} in row {row}; GroupSketch(…, nonfinite='count') leaves such out"
            )
        if not x.size:
            return
        self._waiting.append((np.broadcast_to(names, x.shape).copy(), x.astype(self.dtype)))
        self._n_waiting += x.size
        if self._n_waiting > max(_WAITING, len(self._values)):
            self._settle()

    def merge(self, other: GroupSketch) -> None:
        """Take in all that another sketch has seen; the other one is unchanged.

        Raises
        ------
        ValueError
            If capacity, dtype or the kind of keys differ.
        """
        if other is self:
            raise ValueError("a sketch cannot be merged into itself")
        mine, theirs = (self.capacity, self.dtype), (other.capacity, other.dtype)
        if mine != theirs:
            raise ValueError(f"sketches must agree in capacity and dtype, got {theirs} for {mine}")
        kinds = self._kind(), other._kind()
        if all(kinds) and kinds[0] != kinds[1]:
            raise ValueError("sketches must agree in the kind of their keys, got text and whole numbers")
        self._settle()
        other._settle()
        self._take(
            other._keys, other._count, other._left_out, other._moments, other._minimum, other._values, other._kept()
        )

    # -- a model out -------------------------------------------------------------------------------------------------

    def fit(
        self,
        *,
        quantile: float | None = None,
        threshold: float | None = None,
        n_excess: int | None = None,
        method: str = "mle",
        resolution: float | None = None,
        clean: bool | None = None,
    ) -> Tail:
        """Fit a tail to each key: `fit_tail` of all its observations. Give one of the first three, or none.

        Parameters
        ----------
        quantile, threshold, n_excess, method, resolution
            As in `fit_tail`; a key with too few observations has a status that says so.
        clean : None or False
            As in `TailSketch.fit`.

        Returns
        -------
        Tail
            One channel a key, with the keys as names. Its excesses are an array of keys × most excesses of a key.

        Raises
        ------
        ValueError
            If nothing was seen, the fit needs more than `capacity` values of a key, or as in `fit_tail`.
        """
        if not np.any(self.count > 0):
            raise ValueError(f"the sketch has seen no observation of any of its {len(self)} keys")
        return fit_kept(
            self, self._moments, self._keys.astype(np.str_), quantile, threshold, n_excess, method, resolution, clean
        )

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an .npz file, atomically; a loaded sketch goes on as this one would."""
        write_arrays(path, "GroupSketch", *self.to_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, n_threads: int | None = None) -> GroupSketch:
        """Read what `save` wrote. Raises ValueError if the file is anything else, damaged or contradicts itself."""
        return cls._restored(*read_arrays(path, "GroupSketch", _check), n_threads)

    def to_bytes(self) -> bytes:
        """What `save` writes, as bytes."""
        return arrays_to_bytes("GroupSketch", *self.to_arrays())

    @classmethod
    def from_bytes(cls, data: bytes, *, n_threads: int | None = None) -> GroupSketch:
        """Read what `to_bytes` made. Errors as in `load`."""
        return cls._restored(*arrays_from_bytes(data, "GroupSketch", _check), n_threads)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """All that `save` writes, as arrays and plain values."""
        self._settle()
        cut = self._count > self._kept()
        keys = self._keys
        if keys.dtype.kind == "U":  # as long as the longest key, whatever they were joined from
            keys = keys.astype(f"U{max(1, int(np.char.str_len(keys).max(initial=1)))}")
        arrays = {
            "keys": keys, "count": self._count, "nonfinite_count": self._left_out, "largest": self._values,
            "moments": self._moments[cut], "minimum": self._minimum[cut],
        }  # fmt: skip
        return arrays, {"capacity": self.capacity, "nonfinite": self.nonfinite}

    @classmethod
    def _restored(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any], n_threads: int | None) -> GroupSketch:
        sketch = cls.__new__(cls)
        sketch._restore(arrays, values, n_threads)
        return sketch

    def __getstate__(self) -> dict[str, Any]:
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
        GroupSketch.__init__(self, values["capacity"], dtype=arrays["largest"].dtype, nonfinite=values["nonfinite"],
                             n_threads=n_threads)  # fmt: skip
        self._keys, self._count, self._left_out = arrays["keys"], arrays["count"], arrays["nonfinite_count"]
        self._values = arrays["largest"]
        kept = self._kept()
        cut, there = self._count > kept, kept > 0
        self._moments, self._minimum = empty_state(len(kept)), np.full(len(kept), np.inf, dtype=self.dtype)
        self._moments[there], self._minimum[there] = self._summed(self._values, np.cumsum(kept[there]))
        self._moments[cut], self._minimum[cut] = arrays["moments"], arrays["minimum"]

    def __repr__(self) -> str:
        kept = "all" if self.capacity is None else f"the {self.capacity} largest"
        least, most = (int(self.count.min()), int(self.count.max())) if len(self) else (0, 0)
        seen = f"{least}–{most}" if least < most else f"{least}"
        left_out = f", {self._left_out.sum()} left out" if self._left_out.any() else ""
        keys = "1 key" if len(self) == 1 else f"{len(self)} keys"
        return f"GroupSketch({keys}, {kept} of {seen} observations each{left_out}, {self.dtype})"

    # -- what a fit looks at -----------------------------------------------------------------------------------------

    def _top(self, width: int) -> NDArray[Any]:
        kept = self._kept()
        key = np.repeat(np.arange(len(kept)), kept)
        place = np.arange(len(self._values)) - np.cumsum(kept)[key] + width  # from the right
        out = np.full((len(kept), width), np.nan, dtype=self.dtype)
        out[key[place >= 0], place[place >= 0]] = self._values[place >= 0]
        return out

    def _above(self, levels: Float) -> Int:
        key = np.repeat(np.arange(len(self._count)), self._kept())
        return np.bincount(key[self._values > levels[key]], minlength=len(levels))

    def _lowest(self) -> Float:
        kept = self._kept()
        out = np.full(len(kept), np.nan)
        out[kept > 0] = self._values[(np.cumsum(kept) - kept)[kept > 0]]
        return out

    # -- inside ------------------------------------------------------------------------------------------------------

    def _kept(self) -> Int:
        """How many values are kept of each key."""
        return self._count if self.capacity is None else np.minimum(self._count, self.capacity)

    def _kind(self) -> str:
        """What the keys are: "U", "i", or nothing as long as there is none."""
        if len(self._keys):
            return self._keys.dtype.kind
        return self._waiting[0][0].dtype.kind if self._waiting else ""

    def _settle(self) -> None:
        """Sort in the values that wait."""
        if not self._waiting:
            return
        names = np.concatenate([keys for keys, _ in self._waiting])
        x = np.concatenate([values for _, values in self._waiting]) + self.dtype.type(0)  # a zero has no sign
        self._waiting, self._n_waiting = [], 0
        heads = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))  # sorted tables have few
        keys, group = np.unique(names[heads], return_inverse=True)
        key = np.repeat(group, np.diff(np.append(heads, len(names))))
        finite = np.isfinite(x)
        left_out = np.bincount(key[~finite], minlength=len(keys))
        key, x = key[finite], x[finite]
        x = x[np.lexsort((x, key))]
        count = np.bincount(key, minlength=len(keys))
        there = count > 0
        moments, low = empty_state(len(keys)), np.full(len(keys), np.inf, dtype=self.dtype)
        moments[there], low[there] = self._summed(x, np.cumsum(count[there]))
        self._take(keys, count, left_out, moments, low, x, count)

    def _summed(self, values: NDArray[Any], ends: Int) -> tuple[Int, NDArray[Any]]:
        """Moments and minima of groups that are not empty, one behind the other."""
        from evtkit._kernels.ragged import group_moments

        moments, low = empty_state(len(ends)), np.empty(len(ends), dtype=self.dtype)
        values = np.ascontiguousarray(values)

        def work(p: slice) -> None:
            group_moments(values, ends, p.start, p.stop, moments, low)

        for_each(work, chunks(len(ends), _PIECE), self.n_threads if len(values) > _WAITING else 1)
        return moments, low

    def _take(
        self, keys: NDArray[Any], count: Int, left_out: Int, moments: Int, low: NDArray[Any], x: NDArray[Any], kept: Int
    ) -> None:
        """Join with the same of other observations, whose kept values stand one key behind the other."""
        union = np.union1d(self._keys, keys) if len(self._keys) else keys
        mine, theirs = np.searchsorted(union, self._keys), np.searchsorted(union, keys)
        if not len(self._keys):
            mine = np.zeros(0, dtype=np.int64)
        key = np.concatenate([np.repeat(mine, self._kept()), np.repeat(theirs, kept)])
        values = np.concatenate([self._values, x])

        def spread(own: NDArray[Any], other: NDArray[Any], fill: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
            one, two = fill, fill.copy()
            one[mine], two[theirs] = own, other
            return one, two

        n = len(union)
        self._moments = join(*spread(self._moments, moments, empty_state(n)))
        self._count = np.add(*spread(self._count, count, np.zeros(n, dtype=np.int64)))
        self._left_out = np.add(*spread(self._left_out, left_out, np.zeros(n, dtype=np.int64)))
        self._minimum = np.minimum(*spread(self._minimum, low, np.full(n, np.inf, dtype=self.dtype)))
        self._keys = union
        values = values[np.lexsort((values, key))]
        if self.capacity is not None:
            total = np.bincount(key, minlength=n)
            from_top = np.repeat(np.cumsum(total), total) - np.arange(len(values))
            values = values[from_top <= self.capacity]
        self._values = values


def _as_keys(keys: ArrayLike) -> NDArray[Any]:
    """Keys as text or int64; ValueError for anything else, and for missing ones."""
    if np.ma.is_masked(keys):
        raise ValueError(f"keys must be text or whole numbers, none missing, got {np.ma.array(keys).mask.sum()} masked")
    names = np.asarray(keys)
    if not names.size and names.ndim:
        return names.astype(np.str_)
    if names.dtype.kind == "T":
        names = names.astype(object)
    if names.dtype.kind == "O":
        found = {type(one) for one in names.ravel().tolist()}
        if found <= {str}:
            names = names.astype(np.str_)
        elif found <= {int, np.int64, np.int32}:
            names = names.astype(np.int64)
    if names.dtype.kind == "u" and (not names.size or int(names.max()) < 1 << 63):
        names = names.astype(np.int64)
    if names.dtype.kind not in "Ui":
        shown = sorted({type(one).__name__ for one in names.ravel().tolist()})[:4]
        raise ValueError(f"keys must be text or whole numbers, none missing, got {', '.join(shown)}")
    return names if names.dtype.kind == "U" else names.astype(np.int64)


def _check(arrays: dict[str, NDArray[Any]], words: Any) -> None:
    """Refuse what no GroupSketch was saved as."""
    check_arrays(arrays, _SCHEMA)
    check_keys(words, {"capacity", "nonfinite"})
    capacity = check_settings(words)
    keys, count = arrays["keys"], arrays["count"]
    if not np.all(keys[1:] > keys[:-1]):
        raise ValueError("the keys are not in ascending order")
    check_rows(arrays["largest"], count, capacity)
    cut = count > (count if capacity is None else np.minimum(count, capacity))
    if len(arrays["minimum"]) != np.count_nonzero(cut):
        raise ValueError("wanted moments of the keys that have more values than are kept")
    largest = arrays["largest"]
    if capacity is not None and np.any(cut):
        of_cut = np.repeat(cut, np.minimum(count, capacity))
        check_summary(largest[of_cut], count[cut], capacity, arrays["moments"], arrays["minimum"])
