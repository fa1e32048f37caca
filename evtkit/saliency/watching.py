"""Watching: a tail a unit over the frames of a video or the steps of a stream, its alarms told as events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.dependence import decluster, extremal_index
from evtkit.peaks import fit_tail
from evtkit.saliency.batches import Batches, pair
from evtkit.saliency.reference import NORMALIZE, normalized
from evtkit.spot.events import Events
from evtkit.spot.labels import ANOMALY, NORMAL
from evtkit.spot.reading import SIDES
from evtkit.spot.rows import RowBudget
from evtkit.spot.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.spot.events import Event
    from evtkit.tail import Tail

__all__ = ["UnitWatch", "watch"]

_CEILING = 0.2  # P of a frame up to which it is looked at, so that calibration sees enough of such frames
_QUANTILE = 0.95  # where a unit's tail begins
_LOOKED_AT = 64  # units by which frames' dependence is found
_EXCESSES = 100  # that a unit's tail is left with at least
_FEWEST = 200  # frames to calibrate on
_CLUSTERS = 10  # of improbable frames, which the level is found by


class UnitWatch:
    """Alarms a unit over the frames of a video or the steps of a stream, told as events; made by `watch`.

    Attributes
    ----------
    tails : dict of str to Tail
        "upper", "lower" or both: what each unit's saliency usually is.
    level : float
        A frame begins an event if its P is at most exp(−level): P is the least of k-th smallest probability · units / k
        (Simes 1986).
    quiet : int
        Frames without an alarm after which an event is over: at least the calm between two clusters of improbable
        frames.
    extremal_index : float
        Clusters over improbable frames in calibration: 1 for independent frames.
    frame : int
        Number of the next frame; the first one after the calibration is 0.

    See Also
    --------
    watch : makes it.
    evtkit.spot.Event : what it tells.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.saliency import watch
    >>> from evtkit.saliency.toy import Toy
    >>> frames = np.random.default_rng(0).normal(size=(3000, 6))
    >>> net = Toy(reduction="taylor", dead=0)
    >>> watch(net, frames, net.predict(frames).argmax(axis=1), risk=1e-3)
    UnitWatch(12 units; risk 0.001 a frame, frame 0; events begin at P below 0.0052, extremal index 1)
    """

    def __init__(
        self, model: SaliencyModel, judge: _Judge, level: float, quiet: int, extremal_index: float, risk: float,
        normalize: str | None, batch_size: int,
    ) -> None:  # fmt: skip
        self.model, self.tails, self.level, self.quiet = model, judge.tails, level, quiet
        self._judge = judge
        self.extremal_index, self.risk = extremal_index, risk
        self._normalize, self._batch_size = normalize, batch_size
        self._events = _Episodes(model.units.names.tolist(), judge.side, risk, quiet, level)

    @property
    def frame(self) -> int:
        """Number of the next frame."""
        return self._events.row

    @property
    def going_on(self) -> list[Event]:
        """The events that are not over."""
        return self._events.going_on

    def __repr__(self) -> str:
        return (f"UnitWatch({len(self.model.units):,} units; risk {self.risk:g} a frame, frame {self.frame:,}; events "
                f"begin at P below {math.exp(-self.level):.2g}, extremal index {self.extremal_index:.2g})")  # fmt: skip

    def feed(self, x: Any, y: Any = "predicted") -> list[Event]:
        """Take in the next frames: which events began and which were over in them, in order of time.

        Parameters
        ----------
        x, y
            As in `watch`, in whatever pieces.

        Returns
        -------
        list of evtkit.spot.Event
            Each is returned when it begins, and again, with `is_over`, `quiet` frames after its last alarm. Its
            `channels` are the units, its rows the frames.

        Raises
        ------
        ValueError
            If the frames will not do for the network.
        """
        told = []
        for profiles in _profiles(self.model, x, y, self._normalize, self._batch_size):
            told += self._events.feed(profiles, self._judge.trace(profiles))
        return told

    def surprise(self, x: Any, y: Any = "predicted") -> NDArray[np.float64]:
        """−log P of each frame, shape (n,), to draw beside `level`; 0 for a usual one. Nothing is told or counted."""
        parts = _profiles(self.model, x, y, self._normalize, self._batch_size)
        return np.concatenate([self._judge.surprise(profiles) for profiles in parts])


def watch(
    model: SaliencyModel,
    x: Any,
    y: Any = "predicted",
    *,
    risk: float = 1e-3,
    side: str = "both",
    normalize: str | None = None,
    quiet: int = 10,
    batch_size: int = 64,
) -> UnitWatch:
    """Learn what every unit's saliency usually is over undisturbed frames, to watch further ones with.

    A tail a unit is fitted to the first half of the frames; where there are plenty, to frames as far apart as clusters
    of extremes are long (`evtkit.dependence.extremal_index`). Over the second half, which the tails have not seen, it
    is found how improbable whole frames are: such frames come in clusters (`evtkit.dependence.decluster`), for those
    that follow each other are alike. The generalised Pareto tail of the clusters' peaks gives the level that a new
    cluster passes with the stated risk. So neither the number of units, nor their dependence, nor that of the frames
    changes how often an undisturbed video raises an event. Nothing is learnt afterwards: a slow change is not taken for
    usual.

    Parameters
    ----------
    model : SaliencyModel
        The network.
    x : array, tensor, or tuple or dict of them; or iterable of (x, y)
        Undisturbed frames in order of time; or batches of them, for a video that does not fit in memory. At least 200.
    y : array of int, or "predicted"
        Their labels. "predicted" stands for what the network itself takes each frame for, so that none are needed.
    risk : float
        Probability that an undisturbed frame begins an event, of any units.
    side : {"both", "upper", "lower"}
        Which extremes of the saliency are watched.
    normalize : {"sample", None}
        "sample" divides each profile by its mean size over the units: then how much is no matter, but only where.
    quiet : int
        An event is over after so many frames without an alarm, or more where clusters in calibration lie farther apart.
    batch_size : int
        Frames profiled at a time.

    Returns
    -------
    UnitWatch

    Raises
    ------
    ValueError
        If the frames are too few, or too few of them improbable to find a level by; or an argument is out of its range.

    Notes
    -----
    What is watched is the saliency for the model's own loss. The cross-entropy says little where a network is sure, for
    its slopes vanish there; a loss that does not, such as ``lambda output, target: -output.logsumexp(1)`` in PyTorch,
    makes a unit's saliency its share in the scores, whatever they say.

    An event a 1/risk frames is right if what is usual is in the calibration: a scene that appears for the first time is
    an event. A level is as uncertain as a hundred clusters leave it; the law of the next observation (`evtkit.Tail`)
    keeps its mean right.

    Examples
    --------
    Frames that wander smoothly, with their labels, then a unit that is damaged:

    >>> import numpy as np
    >>> from evtkit.saliency.toy import Toy
    >>> rng = np.random.default_rng(0)
    >>> steps = rng.normal(size=(6010, 6))
    >>> frames = np.stack([np.convolve(path, np.ones(11) / np.sqrt(11), "valid") for path in steps.T], axis=1)
    >>> net = Toy(reduction="taylor", dead=0)
    >>> labels = net.predict(frames).argmax(axis=1)
    >>> watched = watch(net, frames[:4000], labels[:4000], risk=1e-3)
    >>> len(watched.feed(frames[4000:5000], labels[4000:5000])) <= 6
    True
    >>> net.rows[3][:] *= -5.0
    >>> told = watched.feed(frames[5000:5100], labels[5000:5100])
    >>> any(1000 <= event.start < 1060 for event in told)
    True
    """
    if not 0.0 < risk <= 0.1:
        raise ValueError(f"risk must lie between 0 and 0.1, got {risk}")
    if normalize not in NORMALIZE:
        raise ValueError(f"normalize must be None or 'sample', got {normalize!r}")
    if side not in SIDES:
        raise ValueError(f"side must be one of 'both', 'lower', 'upper', got {side!r}")
    if quiet < 1 or batch_size < 1:
        raise ValueError(f"quiet and batch_size must be at least 1, got {quiet} and {batch_size}")
    usual = np.concatenate(list(_profiles(model, x, y, normalize, batch_size)))
    n, units = usual.shape
    if n < _FEWEST:
        raise ValueError(f"frames to calibrate on must be at least {_FEWEST}, got {n}")
    sides = 2 if side == "both" else 1
    own = min(max(_CEILING / units, risk), 0.5 * (1.0 - _QUANTILE) * sides)  # a unit's risk
    judge = _Judge(_thinned(usual[: n // 2]), side, own)
    surprise = judge.surprise(usual[n // 2 :])
    level, run, index = _level(surprise, -math.log(min(units * own, 1.0)), risk)
    return UnitWatch(model, judge, level, max(quiet, run), index, risk, normalize, batch_size)


def _thinned(usual: Float) -> Float:
    """Frames at a distance, for about one a cluster of a unit's extremes, as long as that leaves enough of them."""
    n, units = usual.shape
    some = usual[:, np.unique(np.linspace(0, units - 1, min(units, _LOOKED_AT)).astype(int))]
    size = np.abs(some - np.median(some, axis=0))
    with np.errstate(invalid="ignore"):
        theta = extremal_index(size, np.quantile(size, _QUANTILE, axis=0))
    theta = theta[np.isfinite(theta)]
    clusters = round(1.0 / float(np.median(theta))) if theta.size else 1
    return usual[:: max(1, min(clusters, int(n * (1.0 - _QUANTILE) / _EXCESSES)))]


class _Judge:
    """How improbable every unit's saliency is by the tails of usual frames; looked at where it is at most `risk`."""

    def __init__(self, usual: Float, side: str, risk: float) -> None:
        self.side, self.signs = side, SIDES[side]
        self._log_sides = math.log(len(self.signs))
        own = {sign: fit_tail(sign * usual, quantile=_QUANTILE, keep_sample=False) for sign in self.signs}
        self.tails: dict[str, Tail] = {"upper" if sign > 0 else "lower": tail for sign, tail in own.items()}
        self._own = own
        self.levels = np.stack([sign * tail.isf(risk / len(self.signs)) for sign, tail in own.items()], axis=-1)

    def trace(self, values: Float) -> Trace:
        """Labels, levels and probabilities, the latter of alarms alone."""
        beyond = [sign * values > sign * self.levels[:, i] for i, sign in enumerate(self.signs)]
        alarms = np.any(beyond, axis=0)
        log_p = np.full(values.shape, np.nan)
        rows = np.flatnonzero(alarms.any(axis=1))
        if rows.size:
            found = np.min([tail.logsf(sign * values[rows]) for sign, tail in self._own.items()], axis=0)
            log_p[rows] = np.where(alarms[rows], np.minimum(found + self._log_sides, 0.0), np.nan)
        levels = np.broadcast_to(self.levels, (len(values), *self.levels.shape))
        return Trace(np.where(alarms, ANOMALY, NORMAL).astype(np.int8), levels, log_p)

    def surprise(self, values: Float) -> Float:
        """−log P of every frame, shape (n,); 0 for one without an alarm of any unit."""
        log_p = np.nan_to_num(self.trace(values).log_probability, nan=0.0)
        ranks = np.log(np.arange(1, values.shape[1] + 1) / values.shape[1])
        return np.asarray(np.maximum(-np.min(np.sort(log_p, axis=1) - ranks, axis=1), 0.0))


def _level(surprise: Float, least: float, risk: float) -> tuple[float, int, float]:
    """The level that clusters of frames pass at a rate of `risk` a frame, their run length, and the extremal index."""
    threshold = max(least, float(np.quantile(surprise, 0.9)))
    beyond = int(np.count_nonzero(surprise > threshold))
    clusters = decluster(surprise, threshold) if beyond > 1 else None
    found = 0 if clusters is None else len(clusters)
    if clusters is None or found < _CLUSTERS:
        raise ValueError(
            f"frames must be so many that improbable ones come in {_CLUSTERS} clusters or more, got {found} in "
            f"{len(surprise)} frames"
        )
    level = float(fit_tail(clusters).isf(risk))
    return level, int(clusters.run_length), found / beyond


@dataclass
class _Level(RowBudget):
    """A budget whose level is known beforehand."""

    level: float = 0.0

    def log_level(self) -> float:
        return -self.level

    def learn(self, log_p: float) -> None:
        pass


class _Episodes(Events):
    """Events that begin at a level that is known beforehand."""

    def __init__(self, units: Sequence[str], side: str, risk: float, quiet: int, level: float) -> None:
        super().__init__(units, risk=risk, side=side, quiet=quiet, memory=0)
        self._budget = _Level(risk, len(units), level=level)


def _profiles(model: SaliencyModel, x: Any, y: Any, how: str | None, batch_size: int) -> Iterator[NDArray[np.float64]]:
    """Normalised profiles of frames, piece by piece."""
    whole = hasattr(x, "shape") or isinstance(x, (Mapping, tuple))
    predicted = isinstance(y, str)
    if whole:
        parts: Any = Batches(x, np.zeros(len(_first(x))) if predicted else y, batch_size)
    else:
        parts = map(pair, x)
    for part, target in parts:
        profiles = np.asarray(model.profile(part, y if whole and predicted else target))
        yield normalized(profiles, how).astype(np.float64)


def _first(x: Any) -> Any:
    return next(iter(x.values())) if isinstance(x, Mapping) else x[0] if isinstance(x, tuple) else x
