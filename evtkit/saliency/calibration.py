"""Calibrate: from a network and labelled samples to a Reference, in one pass that can be stopped and resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from evtkit.estimators import METHODS
from evtkit.saliency.batches import pair, plain, size_of
from evtkit.saliency.checkpoint import Checkpoint
from evtkit.saliency.mistakes import UsualMistakes
from evtkit.saliency.reference import NORMALIZE, Reference, normalized
from evtkit.saliency.tasks import mistaken
from evtkit.sketch import TailSketch

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from evtkit.saliency.protocol import SaliencyModel

__all__ = ["calibrate", "check_settings"]


def calibrate(
    model: SaliencyModel,
    batches: Iterable[tuple[Any, Any]],
    *,
    quantile: float = 0.90,
    which: str = "all",
    normalize: str | None = "sample",
    method: str = "mle",
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    n_samples: int | None = None,
    wrong: Callable[[Any, Any], Any] | None = None,
) -> Reference:
    """Learn what every unit's saliency usually is.

    Profiles go into a `TailSketch`, which keeps the largest (1 − quantile) share of every unit's values and their mean
    and standard deviation; then one generalised Pareto tail a unit is fitted (Wang & Sato 2023, arXiv 2310.17951). Up
    to 128 profiles of samples that the network gets wrong are kept whole, for `suspects`.
    Memory: about ((1 − quantile) · n + 128) · units values. The published protocol is ``normalize=None``.

    Parameters
    ----------
    model : SaliencyModel
        The network: an `evtkit_torch.TorchModel`, an `evtkit_keras.KerasModel`, or another.
    batches : iterable of (x, y)
        Labelled samples: a list, a `Batches`, a PyTorch DataLoader, a `tf.data.Dataset` of batches, a generator, …
        Batches may also be ``(x, y, weights)``, whose weights are not used, or dicts with ``"labels"``.
        Mistakes that will be ranked should not be among them, see `held_out_split`.
    quantile : float in (0, 1)
        Where each unit's tail begins: threshold sorted(s)[floor(quantile · n)].
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
        order. It stays when all is done.
    checkpoint_every : float
        Seconds between checkpoints; 0 writes one after every batch.
    n_samples : int, optional
        How many samples there are, or an upper bound, which must be known beforehand to keep enough of each unit's
        largest values. By default found from `batches`: a list or tuple, or something with ``n_samples``, a
        ``sampler`` or ``dataset`` of known length, or as many batches as its ``len``, the first of them the largest.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evaluate`.

    Returns
    -------
    Reference

    Raises
    ------
    ValueError
        If an argument is out of its range; the number of samples cannot be known, or there are more than promised; a
        batch is no pair of samples and labels, or its profile has another shape or is not finite; the quantile leaves
        nothing; or the checkpoint was made by another network, other settings or other batches.

    Examples
    --------
    >>> from evtkit.saliency.toy import Toy, samples
    >>> from evtkit.saliency.batches import Batches
    >>> net = Toy()
    >>> reference = calibrate(net, Batches(*samples(1000)), quantile=0.9, progress=False)
    >>> reference
    Reference(12 units, 1,000 of 1,000 samples, threshold at the 0.9 quantile: 11 OK, 1 EMPTY)
    >>> x, y = samples(1, seed=7)
    >>> print(reference.rank(net.profile(x, y)).table(3))
       channel         value  impact  P(X ≥ x)
    1  layer1.conv[2]  4.962   16.95    0.0329
    2  fc[1]           2.669   12.34    0.0098
    3  fc[0]           1.496   3.447         1  ≤ u
    """
    check_settings(quantile, which, normalize, method, checkpoint_every)
    bound = _count(batches, n_samples)
    settings = {"quantile": quantile, "which": which, "normalize": normalize, "n_samples": bound}
    settings |= {"reduction": model.reduction}
    state = Checkpoint.begin(checkpoint, model, settings)
    skipped = state.batches
    digest, seen, number = b"", 0, 0
    saved_at = time.monotonic()
    with (
        _kept_if_interrupted(state, checkpoint),
        tqdm(total=bound, unit="sample", desc="calibrate", disable=None if progress else True) as bar,
    ):
        for number, batch in enumerate(batches, start=1):
            x, y, size = _pair(batch, number)
            seen += size
            digest = _digest(digest, y)
            bar.update(size)
            if number <= skipped:
                if number == skipped:
                    state.check(digest.hex(), seen)
                continue
            if seen > bound:
                raise ValueError(f"samples must be at most as many as announced, n_samples = {bound}, got more")
            profiles = _profiles(model, x, y, size)
            scaled = normalized(profiles, normalize)
            missed = None
            if which == "correct" or state.mistakes is None or state.mistakes.wants(state.seen, size):
                missed = _missed(model, x, y, size, wrong, needed=which == "correct")
            state.whole = False
            if state.mistakes is None:
                state.mistakes = UsualMistakes.none(len(model.units), profiles.dtype)
            if missed is not None:
                state.mistakes.update(profiles, scaled, missed, state.seen)
                scaled = scaled[~missed] if which == "correct" else scaled
            if len(scaled):
                if state.sketch is None:
                    capacity = max(2, bound - int(quantile * bound))
                    state.sketch = TailSketch(len(model.units), min(capacity, bound), dtype=profiles.dtype)
                state.sketch.update(scaled)
            state.batches, state.seen, state.digest = number, seen, digest.hex()
            state.whole = True
            if checkpoint is not None and time.monotonic() - saved_at >= checkpoint_every:
                state.save(checkpoint)
                saved_at = time.monotonic()
        bar.total = seen
        bar.refresh()
    if number < skipped:
        raise ValueError(f"batches must be those behind the checkpoint, {skipped}, got {number}")
    if state.sketch is None:
        raise ValueError(f"some samples must be {'usable' if which == 'all' else 'correct'}, got none of {seen}")
    if checkpoint is not None and state.batches > skipped:
        state.save(checkpoint)
    tail = state.sketch.fit(quantile=quantile, method=method)
    return Reference(
        tail,
        model.units,
        quantile,
        which,
        normalize,
        model.reduction,
        n_seen=seen,
        coverage=str(model.coverage),
        mistakes=None if state.mistakes is None else state.mistakes.profiles,
    )


def check_settings(
    quantile: float, which: str, normalize: str | None, method: str = "mle", every: float = 60.0
) -> None:
    """Refuse settings of `calibrate` that are out of their range.

    Raises
    ------
    ValueError
        If one is.
    """
    if not 0.0 < quantile < 1.0:
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


def _profiles(model: SaliencyModel, x: Any, y: Any, size: int) -> NDArray[np.floating[Any]]:
    """Profiles of a batch, checked."""
    profiles = np.asarray(model.profile(x, y))
    if profiles.shape != (size, len(model.units)):
        raise ValueError(f"profiles must have shape ({size}, {len(model.units)}), got {profiles.shape}")
    return profiles


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
