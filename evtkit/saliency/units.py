"""Units: the parts of a network that saliency ranks, as one table that no framework is needed to read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Coverage", "LeftOut", "Units", "stage_of"]


def stage_of(module: str) -> str:
    """Group a module belongs to: its leading name components up to the first that ends in a digit.

    A name without such a component is grouped under its first component.

    Parameters
    ----------
    module : str
        Dotted module (or slashed layer) name.

    Returns
    -------
    str
        The stage.

    Examples
    --------
    >>> [stage_of(name) for name in ("conv1", "layer3.0.conv2", "encoder.layer.7.attn.qkv", "stem.conv")]
    ['conv1', 'layer3', 'encoder.layer.7', 'stem']
    """
    separator = "/" if "/" in module else "."
    parts = module.split(separator)
    for depth, part in enumerate(parts, start=1):
        if part[-1:].isdigit():
            return separator.join(parts[:depth])
    return parts[0]


@dataclass(frozen=True, eq=False, repr=False)
class Units:
    """Ordered table of a network's units: convolutional filters, rows, channels, attention heads.

    The order is the framework's own listing of modules, then the output index; it is the order of a profile's columns.

    Parameters
    ----------
    module : array of str, shape (units,)
        Name of the module that holds the unit.
    kind : array of str, shape (units,)
        ``"filters"``, ``"rows"``, ``"channels"``, ``"heads"`` or a kind an adapter's user registered.
    index : array of int, shape (units,)
        Output index within the module.
    size : array of int, shape (units,)
        Number of weights in the unit (bias excluded).
    stage : array of str, shape (units,)
        Readable group of neighbouring modules, see `stage_of`.

    Raises
    ------
    ValueError
        If the columns differ in length, or two rows share module and index.

    Examples
    --------
    >>> modules = ["conv1", "conv1", "fc"]
    >>> units = Units(modules, ["filters", "filters", "rows"], [0, 1, 0], [27, 27, 8], modules)
    >>> units
    Units(3: 2 filters, 1 rows; 2 modules, 2 stages)
    >>> list(units.names) == ["conv1[0]", "conv1[1]", "fc[0]"]
    True
    >>> units.resolve(["fc[0]", "conv1[0]"])
    array([2, 0])
    >>> units.stages
    {'conv1': 2, 'fc': 1}
    """

    module: NDArray[np.str_]
    kind: NDArray[np.str_]
    index: NDArray[np.int64]
    size: NDArray[np.int64]
    stage: NDArray[np.str_]

    def __post_init__(self) -> None:
        for field in fields(self):
            dtype = np.int64 if field.name in ("index", "size") else np.str_
            column = np.array(getattr(self, field.name), dtype=dtype)
            if column.ndim != 1 or len(column) != len(self.module):
                raise ValueError(
                    f"{field.name} must have shape ({len(self.module)},) as module has, got {column.shape}"
                )
            column.flags.writeable = False
            object.__setattr__(self, field.name, column)
        if len(set(zip(self.module.tolist(), self.index.tolist(), strict=True))) < len(self):
            raise ValueError("units must differ in module and index, got two that agree")

    def __len__(self) -> int:
        return len(self.module)

    def __getitem__(self, key: slice | NDArray[Any] | Sequence[int]) -> Units:
        """Return the table of some rows."""
        picked = key if isinstance(key, slice) else np.asarray(key)
        return Units(*(np.atleast_1d(getattr(self, field.name)[picked]) for field in fields(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Units):
            return NotImplemented
        return all(np.array_equal(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in _counts(self.kind).items())
        return f"Units({len(self):,}: {kinds}; {len(_counts(self.module))} modules, {len(self.stages)} stages)"

    @cached_property
    def names(self) -> NDArray[np.str_]:
        """Readable names ``module[index]``, shape (units,)."""
        names = np.array(
            [f"{module}[{index}]" for module, index in zip(self.module, self.index, strict=True)], dtype=np.str_
        )
        names.flags.writeable = False
        return names

    @property
    def stages(self) -> dict[str, int]:
        """Number of units in each stage, in order of first appearance."""
        return _counts(self.stage)

    def resolve(self, selection: ArrayLike) -> NDArray[np.intp]:
        """Positions of selected units.

        Parameters
        ----------
        selection : array_like
            Positions (integers), a mask (booleans, one a unit), or unit names; order is kept.

        Returns
        -------
        ndarray of intp
            Positions in this table.

        Raises
        ------
        ValueError
            If a position is out of range or repeated, a mask has the wrong length, or a name is unknown.
        """
        chosen = np.atleast_1d(np.asarray(selection))
        if chosen.ndim != 1:
            raise ValueError(f"a selection must have one dimension, got shape {chosen.shape}")
        if chosen.size == 0:
            return np.empty(0, dtype=np.intp)
        if chosen.dtype.kind == "b":
            if len(chosen) != len(self):
                raise ValueError(f"a mask must have one entry for each of {len(self)} units, got {len(chosen)}")
            return np.flatnonzero(chosen)
        if chosen.dtype.kind in "UO":
            place = {name: position for position, name in enumerate(self.names.tolist())}
            unknown = [str(name) for name in chosen if str(name) not in place]
            if unknown:
                raise ValueError(f"names must be those of units, such as {self.names[0]!s}, got {unknown[:3]}")
            chosen = np.array([place[str(name)] for name in chosen])
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"a selection must be positions, a mask or names, got dtype {chosen.dtype}")
        if chosen.min() < 0 or chosen.max() >= len(self):
            raise ValueError(
                f"positions of units must lie in [0, {len(self) - 1}], got {chosen.min()} to {chosen.max()}"
            )
        if len(np.unique(chosen)) < len(chosen):
            raise ValueError("a unit must be selected at most once, got one twice")
        return chosen.astype(np.intp)


@dataclass(frozen=True)
class LeftOut:
    """A parameter that no unit covers, with its number of weights and the reason.

    Examples
    --------
    >>> from evtkit.saliency import LeftOut
    >>> LeftOut("head.bias", 10, "bias")
    LeftOut(parameter='head.bias', size=10, reason='bias')
    """

    parameter: str
    size: int
    reason: str


@dataclass(frozen=True)
class Coverage:
    """How much of a network its units cover, and why the rest is left out.

    Parameters
    ----------
    covered : int
        Weights that belong to at least one unit.
    left_out : tuple of LeftOut
        Every parameter that belongs to none.
    slow : tuple of LeftOut
        Parameters whose part of a profile is taken one sample at a time, exactly, and why.
    cost : float
        Time of the last profile relative to what it would be without them.

    Examples
    --------
    >>> print(Coverage(270, (LeftOut("fc.weight", 20, "rows not selected"), LeftOut("fc.bias", 10, "bias"))))
    90.0 % of 300 parameters covered; left out: 20 rows not selected, 10 bias
    """

    covered: int
    left_out: tuple[LeftOut, ...]
    slow: tuple[LeftOut, ...] = ()
    cost: float = 1.0

    @property
    def total(self) -> int:
        """Weights in the network, covered or not."""
        return self.covered + sum(part.size for part in self.left_out)

    @property
    def fraction(self) -> float:
        """Covered share of all weights."""
        return self.covered / self.total if self.total else 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """Weights left out for each reason, most first."""
        return _by_reason(self.left_out)

    def __str__(self) -> str:
        parts = [f"{100 * self.fraction:.1f} % of {self.total:,} parameters covered"]
        if self.left_out:
            parts.append("left out: " + ", ".join(f"{size:,} {reason}" for reason, size in self.reasons.items()))
        if self.slow:
            why = ", ".join(f"{size:,} {reason}" for reason, size in _by_reason(self.slow).items())
            parts.append(f"one sample at a time, in {self.cost:.1f} times the time: {why}")
        return "; ".join(parts)


def _by_reason(parts: Iterable[LeftOut]) -> dict[str, int]:
    """Weights for each reason, most first."""
    sizes: dict[str, int] = {}
    for part in parts:
        sizes[part.reason] = sizes.get(part.reason, 0) + part.size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _counts(column: NDArray[np.str_]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in column.tolist():
        counts[value] = counts.get(value, 0) + 1
    return counts
