"""Calibrate: from a network and labelled samples to a Reference, in one pass that can be stopped and resumed."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tqdm import tqdm

from evtkit._common.threads import Beside
from evtkit.cleaning.gross import looked_at
from evtkit.estimators import METHODS
from evtkit.saliency.batches import pair, plain, size_of
from evtkit.saliency.checkpoint import Checkpoint
from evtkit.saliency.mistakes import UsualMistakes, mixed
from evtkit.saliency.ranks import agree, check_shares, path_of_rank, paths_of_others, ranks_of, share_of
from evtkit.saliency.reference import NORMALIZE, Reference, normalized
from evtkit.saliency.tasks import mistaken
from evtkit.saliency.trials import rows_of
from evtkit.sketch import TailSketch
from evtkit.threshold.rules import ALIKE, default_excesses

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.ranks import Ranks, Share

__all__ = ["calibrate", "check_settings", "how_many_kept"]

_LABELS = 64  # of a sample, that go into its fingerprint
_KEPT, _KEPT_SHARE = 1000, 20  # values kept by default, at most, or that share of the samples


def calibrate(
    model: SaliencyModel,
    batches: Iterable[tuple[Any, Any]],
    *,
    quantile: float | None = None,
    which: str = "all",
    normalize: str | None = "sample",
    method: str = "mle",
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    n_samples: int | None = None,
    wrong: Callable[[Any, Any], Any] | None = None,
    group: Any = None,
) -> Reference:
    """Learn what every unit's saliency usually is.

    Profiles go into a `TailSketch`, which keeps the largest of every unit's values, and their mean and standard
    deviation; then one generalised Pareto tail a unit is fitted (Wang & Sato 2023, arXiv 2310.17951). Up to 128
    profiles of samples that the network gets wrong are kept whole, for `suspects`.
    Memory: about (k + 128) · units values, with k a fifth of n samples, but at most 1,000 or, if that is more, a
    twentieth; (1 − quantile) · n with a quantile. The published protocol is ``quantile=0.9, normalize=None``. A batch
    is profiled while the one before it is sketched, where there is more than one thread.

    Parameters
    ----------
    model : SaliencyModel
        The network: an `evtkit_torch.TorchModel`, an `evtkit_keras.KerasModel`, or another.
    batches : iterable of (x, y)
        Labelled samples: a list, a `Batches`, a PyTorch DataLoader, a `tf.data.Dataset` of batches, a generator, …
        Batches may also be ``(x, y, weights)``, whose weights are not used, or dicts with ``"labels"``.
        Mistakes that will be ranked should not be among them, see `held_out_split`.
    quantile : float in (0, 1), optional
        Where each unit's tail begins: threshold sorted(s)[floor(quantile · n)]. By default the tail is as in
        `evtkit.fit_tail`: a unit's largest tenth, but at most 50 values or √n, whichever is more, without gross
        outliers, of which the reference says how many there were.
    which : {"all", "correct"}
        Use all samples, or those that the network gets right.
    normalize : {"sample", None}
        "sample" divides each profile by its mean size over the units: a unit then stands out against the other units,
        not because the sample's loss is large. Profiles ranked later are treated alike.
    method : str
        The estimator, as in `evtkit.fit_gpd`.
    progress : bool
        Show a bar (on a terminal's standard error).
    checkpoint : path, optional
        File that holds the state, written atomically, also when Ctrl-C stops it. If it exists, calibration continues
        from it, and the result is the same bit for bit as without interruption, given the same batches in the same
        order. It stays when all is done. Of several ranks each has its own, ``….1of4.npz`` and so on; with another
        number of ranks it goes on from theirs, if the numbers of the samples among all are the same.
    checkpoint_every : float
        Seconds between checkpoints; 0 writes one after every batch.
    n_samples : int, optional
        How many samples there are, of all ranks together, or an upper bound, which must be known beforehand to keep
        enough of each unit's largest values. By default found from `batches`: a list or tuple, or something with
        ``n_samples``, a ``sampler`` or ``dataset`` of known length, or as many batches as its ``len``, the first of
        them the largest.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evaluate`.
    group : torch.distributed.ProcessGroup, optional
        The processes that share the work, such as ``torch.distributed.group.WORLD`` under ``torchrun``; every one
        calls `calibrate` with its own share of the samples, such as a loader with a ``DistributedSampler``, and every
        one gets the same Reference, which is the one of all samples in one process. What that sampler repeats to give
        all as many is left out. For other transports see `evtkit.saliency.ranks.Ranks`.

    Returns
    -------
    Reference

    Raises
    ------
    ValueError
        If an argument is out of its range; the number of samples cannot be known, or there are more than promised; a
        batch is no pair of samples and labels, or its profile has another shape or is not finite; the quantile leaves
        nothing; the checkpoint was made by another network, other settings or other batches; or ranks had each other's
        samples, or one of them failed.

    Examples
    --------
    >>> from evtkit.saliency.toy import Toy, samples
    >>> from evtkit.saliency.batches import Batches
    >>> net = Toy()
    >>> reference = calibrate(net, Batches(*samples(1000)), progress=False)
    >>> reference
    Reference(12 units, 1,000 of 1,000 samples, tails of 50 excesses: 11 OK, 1 EMPTY)
    >>> x, y = samples(1, seed=7)
    >>> print(reference.rank(net.profile(x, y)).table(3))
       channel         value  impact  P(X ≥ x)
    1  layer1.conv[2]  4.962   17.57     0.029
    2  fc[1]           2.669   12.58   0.00897
    3  fc[0]           1.496   4.454         1  ≤ u
    """
    ranks = ranks_of(group)
    failure: Exception | None = None
    try:
        check_settings(quantile, which, normalize, method, checkpoint_every)
    except ValueError as error:
        failure = error
    agree(ranks, failure)
    share = share_of(ranks, batches, n_samples, _count)
    settings = {"quantile": quantile, "which": which, "normalize": normalize, "n_samples": share.bound}
    settings |= {"reduction": model.reduction}
    path = path_of_rank(checkpoint, ranks)
    state = _begun(ranks, checkpoint, model, settings, share)
    met = 0
    try:
        met = _learn(state, model, batches, share, path, checkpoint_every, wrong, progress and not ranks.rank)
    except Exception as error:
        failure = error
    agree(ranks, failure)
    if sum(ranks.all_gather(met)) % (1 << 64) != state.known:
        raise ValueError(
            f"the samples in the checkpoints of {checkpoint} must be among those given, with the same labels in the "
            f"same places, got others (another order?); remove {path}, which has both"
        )
    check_shares(ranks, batches, state.seen, _content(state))
    whole = _joined(state, ranks)
    if whole.sketch is None:
        raise ValueError(f"some samples must be {'usable' if which == 'all' else 'correct'}, got none of {whole.taken}")
    reference = None
    if not ranks.rank:
        reference = Reference(
            whole.sketch.fit(quantile=quantile, method=method), model.units, quantile, which, normalize,
            model.reduction, n_seen=whole.taken, coverage=str(model.coverage),
            **_usual(whole.mistakes, len(model.units)),
        )  # fmt: skip
    return cast("Reference", ranks.broadcast(reference, 0))


def _begun(
    ranks: Ranks,
    checkpoint: str | os.PathLike[str] | None,
    model: SaliencyModel,
    settings: dict[str, Any],
    share: Share,
) -> Checkpoint:
    """Where this rank starts: from its checkpoint; where no rank has one, from those of another number of ranks."""
    path = path_of_rank(checkpoint, ranks)
    failure: Exception | None = None
    try:
        state = Checkpoint.begin(path, model, settings)
    except Exception as error:
        failure = error
    agree(ranks, failure)
    if path is not None and not any(ranks.all_gather(Path(path).exists())) and not ranks.rank:
        try:
            others = [
                Checkpoint.joined(paths, model, settings) for paths in paths_of_others(checkpoint or "", ranks.size)
            ]
            if others:
                state = max(others, key=lambda one: one.taken)
                state.place = share.first, share.step
                state.save(path)
        except Exception as error:
            failure = error
    agree(ranks, failure)
    state.done, state.known = ranks.broadcast((state.done, state.known), 0)
    state.place = share.first, share.step
    return state


def _learn(
    state: Checkpoint,
    model: SaliencyModel,
    batches: Iterable[tuple[Any, Any]],
    share: Share,
    path: str | os.PathLike[str] | None,
    every: float,
    wrong: Callable[[Any, Any], Any] | None,
    progress: bool,
) -> int:
    """Take the share of one rank into its state; returns the sum of fingerprints of samples that were done already."""
    which, normalize, quantile = (state.settings[name] for name in ("which", "normalize", "quantile"))
    skipped = state.batches
    digest, seen, number, met = b"", 0, 0, 0
    saved_at = time.monotonic()
    with (
        _kept_if_interrupted(state, path),
        tqdm(total=share.own, unit="sample", desc="calibrate", disable=None if progress else True) as bar,
        Beside(None) as beside,
    ):
        for number, batch in enumerate(batches, start=1):
            x, y, size = _pair(batch, number)
            own = min(size, share.own - seen) if share.repeats else size
            numbers = share.numbers(seen, own)
            new, prints = state.is_new(numbers), _fingerprints(y, numbers)
            met += int(prints[~new].sum())
            seen += own
            digest = _digest(digest, y)
            bar.update(own)
            if number <= skipped:
                if number == skipped:
                    state.check(digest.hex(), seen)
                continue
            if seen > share.own:
                raise ValueError(f"samples must be at most as many as announced, n_samples = {share.own}, got more")
            if new.any():
                profiles = _profiles(model, x, y, size)[:own][new]  # a copy: a model may use its memory again
                scaled = normalized(profiles, normalize)
                missed = None
                if which == "correct" or state.mistakes is None or state.mistakes.wants(numbers[new]):
                    missed = _missed(model, x, y, size, wrong, needed=which == "correct")[:own][new]
                state.whole = False
                if state.mistakes is None:
                    width = len(model.units) * (3 if getattr(model, "has_activations", False) else 1)
                    state.mistakes = UsualMistakes.none(width, profiles.dtype)
                if missed is not None:
                    more = partial(_activations, model, x, np.flatnonzero(new))
                    told = state.mistakes.profiles.shape[1] > len(model.units)
                    state.mistakes.update(profiles, scaled, missed, numbers[new], more if told else None)
                    scaled = scaled[~missed] if which == "correct" else scaled
                if len(scaled):
                    if state.sketch is None:
                        kept = how_many_kept(share.bound, quantile)
                        state.sketch = TailSketch(len(model.units), kept, dtype=profiles.dtype)
                    beside.do(partial(state.sketch.update, scaled))
                state.taken += int(np.count_nonzero(new))
                state.labels = (state.labels + int(prints[new].sum())) % (1 << 64)
            state.batches, state.seen, state.digest = number, seen, digest.hex()
            state.whole = True
            if path is not None and time.monotonic() - saved_at >= every:
                beside.wait()
                state.save(path)
                saved_at = time.monotonic()
        bar.total = seen
        bar.refresh()
    if number < skipped:
        raise ValueError(f"batches must be those behind the checkpoint, {skipped}, got {number}")
    if path is not None and state.batches > skipped:
        state.save(path)
    return met % (1 << 64)


def how_many_kept(n: int, quantile: float | None) -> int:
    """How many of the largest of n values of a unit are kept."""
    if quantile is not None:
        return min(max(2, n - int(quantile * n)), n)
    most = max(_KEPT, n // _KEPT_SHARE)  # gross outliers are at most a fiftieth, and stand apart from as many others
    return min(max(ALIKE * (int(default_excesses(np.array(n))) + 1), min(int(looked_at(np.array(n))) + 1, most)), n)


def _content(state: Checkpoint) -> bytes:
    """A digest of what was learnt, by which ranks that saw the same samples are told."""
    return blake2b(b"" if state.sketch is None else pickle.dumps(state.sketch), digest_size=16).digest()


def _joined(state: Checkpoint, ranks: Ranks) -> Checkpoint:
    """What all ranks have learnt, on the first of them; one at a time, for there may be many."""
    if ranks.size == 1:
        return state
    whole = Checkpoint(state.settings, state.names, state.norms)
    for rank in range(ranks.size):
        mine = (state.sketch, state.mistakes, state.taken) if rank == ranks.rank else None
        sketch, mistakes, taken = ranks.broadcast(mine, rank)
        whole.taken += taken
        if ranks.rank:  # what is joined on the first is all that counts
            whole.sketch = sketch if whole.sketch is None else whole.sketch
        else:
            whole.take(sketch, mistakes)
    return whole


def check_settings(
    quantile: float | None, which: str, normalize: str | None, method: str = "mle", every: float = 60.0
) -> None:
    """Refuse settings of `calibrate` that are out of their range.

    Raises
    ------
    ValueError
        If one is.
    """
    if quantile is not None and not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must lie strictly between 0 and 1, got {quantile}")
    if which not in ("all", "correct"):
        raise ValueError(f"which must be 'all' or 'correct', got {which!r}")
    if normalize not in NORMALIZE:
        raise ValueError(f"normalize must be None or 'sample', got {normalize!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if not every >= 0.0:
        raise ValueError(f"checkpoint_every must be a number of seconds, 0 or more, got {every}")


@contextmanager
def _kept_if_interrupted(state: Checkpoint, path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Write the state when Ctrl-C stops the calibration, unless that was amid a change of it."""
    begun = state.batches
    try:
        yield
    except KeyboardInterrupt:
        if path is not None and state.whole and state.batches > begun:
            state.save(path)
        raise


def _count(batches: Any, n_samples: int | None) -> int:
    """How many samples there are at most."""
    if n_samples is not None:
        if n_samples < 2:
            raise ValueError(f"n_samples must be at least 2, got {n_samples}")
        return int(n_samples)
    if isinstance(batches, (list, tuple)):
        return sum(_pair(batch, number)[2] for number, batch in enumerate(batches, start=1))
    if (found := getattr(batches, "n_samples", None)) is not None:
        return int(found)
    # a sampler may draw samples again; one that draws whole batches is not asked how many samples it draws
    owner = batches if getattr(batches, "batch_size", 0) is not None else None
    for name in ("sampler", "dataset"):
        try:
            return len(getattr(owner, name))
        except (AttributeError, TypeError, NotImplementedError):
            continue
    try:  # what knows its number of batches, as a `tf.data.Dataset` does, can be begun again
        return len(batches) * _pair(next(iter(batches)), 1)[2]
    except (TypeError, StopIteration):
        pass
    raise ValueError(
        "n_samples= must be given, their number or an upper bound, for batches of unknown length, "
        f"got {type(batches).__name__}"
    )


def _pair(batch: Any, number: int) -> tuple[Any, Any, int]:
    """x, y and how many."""
    x, y = pair(batch, number)
    return x, y, size_of(y)


def _digest(before: bytes, y: Any) -> bytes:
    """A fingerprint of all labels so far and how they were cut into batches."""
    if isinstance(y, Mapping):
        y = tuple(y.values())
    if isinstance(y, tuple):
        for part in y:
            before = _digest(before, part)
        return before
    labels = np.ascontiguousarray(plain(y))
    return blake2b(before + str(labels.shape).encode() + labels.tobytes(), digest_size=16).digest()


def _fingerprints(y: Any, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each of the first samples, of its label and its number; sums of them tell other labels or places."""
    parts = list(y.values()) if isinstance(y, Mapping) else list(y) if isinstance(y, tuple) else [y]
    total = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for part in parts:
        labels = np.asarray(plain(part))[: len(numbers)]
        if labels.dtype.kind in "biuf":
            for column in labels.reshape(len(numbers), -1)[:, :_LABELS].astype(np.float64).T + 0.0:
                total = mixed(total + np.ascontiguousarray(column).view(np.uint64))
    return mixed(total)


def _profiles(model: SaliencyModel, x: Any, y: Any, size: int) -> NDArray[np.floating[Any]]:
    """Profiles of a batch, checked."""
    profiles = np.asarray(model.profile(x, y))
    if profiles.shape != (size, len(model.units)):
        raise ValueError(f"profiles must have shape ({size}, {len(model.units)}), got {profiles.shape}")
    return profiles


def _activations(model: Any, x: Any, places: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Activations of some rows of a batch."""
    return np.asarray(model.activations(rows_of(x, places[rows])))


def _usual(kept: UsualMistakes | None, n_units: int) -> dict[str, Any]:
    """Profiles and activations of the mistakes that were kept."""
    if kept is None:
        return {}
    found: dict[str, Any] = {"mistakes": kept.profiles[:, :n_units], "missed": int(np.count_nonzero(kept.key < 0.0))}
    if kept.profiles.shape[1] > n_units:
        found["activations"] = kept.profiles[:, n_units:].reshape(-1, n_units, 2)
    return found


def _missed(
    model: SaliencyModel, x: Any, y: Any, size: int, wrong: Callable[[Any, Any], Any] | None, needed: bool
) -> NDArray[np.bool_]:
    """Which samples are mistakes; none where the task does not say what one is, unless it must."""
    try:
        return mistaken(model, x, y, wrong)
    except ValueError:
        if needed or wrong is not None:
            raise
        return np.zeros(size, dtype=bool)
