"""Designs: from a formula or columns of covariates to a matrix with orthonormal columns, for old rows and new ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import frame_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Bool, Float

__all__ = ["Design", "PlainColumns", "asked", "harmonics", "response"]


_LABEL = 60  # characters


def harmonics(phase: ArrayLike, order: int = 1) -> Float:
    """Sines and cosines of a cycle: covariates for the hour of the day, the day of the week or of the year.

    Parameters
    ----------
    phase : array_like, shape (n,)
        Where in the cycle each row is, in cycles: ``hour / 24``, ``day / 365.25``. Whole numbers make no difference.
    order : int
        How many harmonics.

    Returns
    -------
    ndarray of float64, shape (n, 2 · order)
        sin 2πφ, cos 2πφ, sin 4πφ, cos 4πφ, …

    Raises
    ------
    ValueError
        If the order is no positive integer.

    Examples
    --------
    >>> harmonics([0.0, 0.25, 0.5]).round(12) + 0.0
    array([[ 0.,  1.],
           [ 1.,  0.],
           [ 0., -1.]])
    """
    if order != int(order) or order < 1:
        raise ValueError(f"order must be a positive integer, got {order!r}")
    cycle = np.asarray(real_array(phase, "phase"), dtype=np.float64)
    angles = 2.0 * np.pi * cycle[..., None] * np.arange(1, int(order) + 1)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*cycle.shape, 2 * int(order))


@dataclass(frozen=True)
class PlainColumns:
    """A formula that is a sum of columns of numbers, ``"year + soi"``, read here: formulaic takes milliseconds.

    Attributes
    ----------
    names : tuple of str
        Of the columns.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, right: str, data: Any) -> PlainColumns | None:
        """Of a formula's right side; None if there is anything else in it, or in its columns."""
        names = tuple(term.strip() for term in right.split("+"))
        if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
            return None
        try:
            columns = [np.asarray(data[name]) for name in names]
        except (KeyError, TypeError, IndexError, ValueError):
            return None
        alike = all(c.dtype.kind in "iuf" and c.ndim <= 1 and c.size == columns[0].size for c in columns)
        return cls(names) if alike and all(np.isfinite(c).all() for c in columns) else None

    def get_model_matrix(self, rows: Any) -> Float:
        """The constant and the columns, (rows, 1 + columns)."""
        columns = [np.atleast_1d(np.asarray(rows[name], dtype=np.float64)) for name in self.names]
        matrix = np.column_stack([np.ones(len(columns[0])), *columns])
        if not np.all(np.isfinite(matrix)):
            raise ValueError(f"NaN or inf in {', '.join(self.names)}")
        return matrix


@dataclass(frozen=True)
class Design:
    """What one parameter is linear in.

    Attributes
    ----------
    matrix : ndarray of float64, shape (n, columns)
        The covariates, the constant first.
    names : tuple of str
        Of the columns.
    spec : object
        How to make the matrix of new rows: a formula's model specification, `PlainColumns`, or None for columns as they
        are.
    formula : str or None
        The formula, where there was one.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates
    >>> rng = np.random.default_rng(0)
    >>> year = np.arange(2000) / 2000
    >>> y = rng.exponential(np.exp(0.5 * year))
    >>> covariates.fit_gpd(y, sigma=year).designs["sigma"].matrix.shape
    (2000, 2)
    """

    matrix: Float
    names: tuple[str, ...]
    spec: Any = None
    formula: str | None = None

    @property
    def label(self) -> str:
        """What it is, in a line: its columns, or the formula that made them where they are many."""
        columns = " + ".join(self.names)
        if len(columns) <= _LABEL:
            return columns
        return self.formula or f"{self.names[0]} + {self.names[1]} + … ({len(self.names)} columns)"

    @classmethod
    def of(cls, what: str | ArrayLike | None, data: Any, n: int, parameter: str) -> Design:
        """Read a formula or columns of covariates.

        Raises
        ------
        ValueError
            If the number of rows is not n, a value is not finite, columns depend on each other, or the formula cannot
            be read.
        """
        if what is None or (isinstance(what, str) and what.replace("~", "").strip() == "1"):
            return cls(np.ones((n, 1)), ("1",))
        if isinstance(what, str):
            design = cls._from_formula(what, data, parameter)
        else:
            matrix, names = _columns(what, parameter)
            design = cls(matrix, names)
        design._check(n, parameter)
        return design

    @classmethod
    def _from_formula(cls, formula: str, data: Any, parameter: str) -> Design:
        right = formula.split("~", 1)[-1]
        if data is not None and (plain := PlainColumns.of(right, data)) is not None:
            return cls(plain.get_model_matrix(data), ("Intercept", *plain.names), plain)
        try:
            import formulaic
        except ImportError as error:
            raise ImportError(
                "a formula needs formulaic; install it with: pip install 'evtkit[covariates]', or give columns"
            ) from error
        if data is None:
            raise ValueError(f"data must be given with a formula, got none for {parameter}")
        try:
            made = formulaic.model_matrix(right, _mapping(data), na_action="raise", context={"harmonics": harmonics})
        except Exception as error:  # whatever stands in a formula may fail in its own way
            raise ValueError(f"{parameter} must be a formula of the data, got {formula!r}: {error}") from error
        names = tuple(map(str, made.model_spec.column_names))
        return cls(np.asarray(made, dtype=np.float64), names, made.model_spec, right.strip())

    def at(self, rows: Any, parameter: str) -> Float:
        """The matrix of new rows, (m, columns).

        Raises
        ------
        ValueError
            If they lack a covariate.
        """
        if self.names == ("1",) and self.spec is None:
            return np.ones((_length(rows), 1))
        if self.spec is not None:
            try:
                if isinstance(self.spec, PlainColumns):
                    return self.spec.get_model_matrix(rows)
                from formulaic.errors import DataMismatchWarning

                with (
                    warnings.catch_warnings()
                ):  # a group that the fit has not seen: formulaic takes it for the first one
                    warnings.simplefilter("error", DataMismatchWarning)
                    made = self.spec.get_model_matrix(
                        _mapping(rows), na_action="raise", context={"harmonics": harmonics}
                    )
                return np.asarray(made, dtype=np.float64)
            except Exception as error:
                what = str(error).split(" They are being")[0]
                raise ValueError(
                    f"at must have the covariates of {parameter}, as the fit has seen them: {what}"
                ) from error
        given = rows[parameter] if isinstance(rows, dict) and parameter in rows else rows
        matrix, _ = _columns(given, parameter)
        if matrix.shape[1] != len(self.names):
            raise ValueError(f"at must have {len(self.names) - 1} columns for {parameter}, got {matrix.shape[1] - 1}")
        return matrix

    def rows(self, some: Bool) -> Design:
        """Some of the rows."""
        return Design(self.matrix[some], self.names, self.spec, self.formula)

    def orthonormal(self) -> tuple[Float, Float]:
        """Q with QᵀQ = n and R with matrix = QR."""
        if self.names == ("1",):
            return self.matrix, np.ones((1, 1))
        q, r = np.linalg.qr(self.matrix)
        root = np.sqrt(len(q))
        return q * root, r / root

    def _check(self, n: int, parameter: str) -> None:
        if self.matrix.shape[0] != n:
            raise ValueError(f"covariates of {parameter} must have {n} rows as the responses, got {len(self.matrix)}")
        if not np.all(np.isfinite(self.matrix)):
            raise ValueError(f"covariates of {parameter} must be finite, got NaN or inf")
        size = np.linalg.norm(self.matrix, axis=0)
        if np.any(size == 0.0) or np.linalg.matrix_rank(self.matrix / np.where(size == 0.0, 1.0, size)) < len(size):
            raise ValueError(
                f"covariates of {parameter} must not depend on each other, got {', '.join(self.names)} of rank "
                f"{np.linalg.matrix_rank(self.matrix)}"
            )


def asked(y: Any, data: Any) -> tuple[Any, Any, str | None]:
    """Response, data and right side of a whole formula, ``("level ~ year", data)`` or the other way round.

    None stands for the right side where y is no formula.
    """
    if isinstance(data, str) and not isinstance(y, str):
        y, data = data, y
    whole = isinstance(y, str) and "~" in y
    if isinstance(data, str) or (whole and data is None):
        raise ValueError(f"data must be a data frame or a mapping of columns, with {y!r}, got {data!r}")
    if not whole:
        return y, data, None
    left, right = (side.strip() for side in y.split("~", 1))
    if not left or not right:
        raise ValueError(f"a formula must be such as 'level ~ year', got {y!r}")
    return left, data, right


def response(y: Any, data: Any) -> Float:
    """Responses (n,) or (n, channels): numbers, or a column of the data by its name."""
    if isinstance(y, str):
        columns = _mapping(data) if data is not None else {}
        if y not in columns:
            there = ", ".join(map(repr, columns)) or "none"
            raise ValueError(f"y must be numbers or a column of the data ({there}), got {y!r}")
        y = columns[y]
    return np.asarray(real_array(y, "y"), dtype=np.float64)


def _columns(what: ArrayLike, parameter: str) -> tuple[Float, tuple[str, ...]]:
    """Covariates with a constant in front."""
    labels = frame_labels(what)
    matrix = np.asarray(real_array(what, f"covariates of {parameter}"), dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"covariates of {parameter} must have shape (n,) or (n, columns), got {matrix.shape}")
    found = None if labels is None else labels.columns or ((labels.name,) if labels.name else None)
    names = found or tuple(f"x{i}" for i in range(1, matrix.shape[1] + 1))
    return np.column_stack([np.ones(len(matrix)), matrix]), ("1", *map(str, names))


def _mapping(data: Any) -> Any:
    """Data as what a formula reads: a data frame, or a mapping of columns made one."""
    if isinstance(data, dict):
        import pandas as pd  # which formulaic brings

        return pd.DataFrame({name: np.atleast_1d(column) for name, column in data.items()})
    return data.to_pandas() if type(data).__module__.startswith("polars") else data


def _length(rows: Any) -> int:
    if isinstance(rows, dict):
        return max((np.atleast_1d(column).shape[0] for column in rows.values()), default=1)
    return len(rows) if hasattr(rows, "__len__") else 1
