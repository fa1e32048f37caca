"""Mistakes: profiles of calibration samples that the network gets wrong: what its mistakes usually look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["KEPT", "UsualMistakes", "mixed"]

KEPT = 128
"""How many profiles calibration keeps. Memory: so many values a unit."""

_FEWEST = 32  # where there are fewer mistakes, the right samples with the largest saliency stand in


class UsualMistakes:
    """Up to 128 of the mistakes among all samples seen, drawn evenly by their number in the stream.

    If there are fewer than 32, the right samples with the largest saliency fill up to these: the ones that the network
    was least sure of.

    Parameters
    ----------
    profiles : ndarray, shape (m, width)
        What is kept so far: of each sample its profile and, if the network tells, its activations.
    key : ndarray of float64, shape (m,)
        Ascending: negative, and random, for mistakes; above 0, and the smaller the larger its saliency, for others.

    Examples
    --------
    >>> import numpy as np
    >>> kept = UsualMistakes.none(2)
    >>> profiles = np.array([[1.0, 0.0], [5.0, 1.0], [2.0, 2.0]])
    >>> kept.update(profiles, profiles, np.array([False, False, True]), np.arange(3))
    >>> kept.profiles
    array([[2., 2.],
           [5., 1.],
           [1., 0.]])
    """

    def __init__(self, profiles: NDArray[Any], key: NDArray[np.float64]) -> None:
        self.profiles, self.key = profiles, key

    @classmethod
    def none(cls, width: int, dtype: Any = np.float64) -> UsualMistakes:
        """Nothing kept yet; of so many values a sample."""
        return cls(np.empty((0, width), dtype=dtype), np.empty(0))

    def wants(self, numbers: NDArray[np.int64]) -> bool:
        """Whether any of the samples of such numbers would be kept if it were a mistake."""
        return len(self.key) < KEPT or bool(np.any(_drawn(numbers) < self.key[-1]))

    def update(
        self,
        profiles: NDArray[Any],
        kept_as: NDArray[Any],
        wrong: NDArray[np.bool_],
        numbers: NDArray[np.int64],
        more: Callable[[NDArray[np.intp]], NDArray[Any]] | None = None,
    ) -> None:
        """Take in a block.

        Parameters
        ----------
        profiles, kept_as : ndarray, shape (rows, units)
            As they are, and normalised.
        wrong : ndarray of bool, shape (rows,)
            Which of them are mistakes.
        numbers : ndarray of int64, shape (rows,)
            Their numbers in the stream.
        more : callable, optional
            What else to keep of some of the rows: asked only for those that are kept.
        """
        with np.errstate(divide="ignore"):
            key = np.where(wrong, _drawn(numbers), 1.0 / np.abs(profiles).mean(axis=1, dtype=np.float64))
        after = self._kept(np.concatenate([self.key, key]))
        new = after[after >= len(self.key)] - len(self.key)
        rows = kept_as[new]
        if more is not None and len(new):
            rows = np.hstack([rows, more(new).reshape(len(new), -1).astype(rows.dtype)])
        if len(new):
            self._take(rows, key[new])

    def merge(self, other: UsualMistakes) -> None:
        """Take in what was kept of other samples: the same is kept then as of all in one stream."""
        self._take(other.profiles, other.key)

    def _take(self, profiles: NDArray[Any], key: NDArray[np.float64]) -> None:
        key = np.concatenate([self.key, key])
        order = self._kept(key)
        self.profiles = np.concatenate([self.profiles, profiles])[order]
        self.key = key[order]

    @staticmethod
    def _kept(key: NDArray[np.float64]) -> NDArray[np.intp]:
        """Places of those that are kept, by their keys."""
        order = np.argsort(key, kind="stable")
        mistakes = int(np.count_nonzero(key < 0.0))
        return order[: min(KEPT, max(mistakes, _FEWEST))]


def _drawn(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [−1, 0) for each place in the stream."""
    z = mixed((numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53 - 1.0


def mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look random, one for each, by the mixing function of SplitMix64 (Steele et al. 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))
