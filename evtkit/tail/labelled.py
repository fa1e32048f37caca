"""A tail as a labelled Dataset of xarray: what each of its arrays is called, and in which units it is.

Names and units follow the CF conventions (https://cfconventions.org), which have no standard names for these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["VARIABLES", "attributes", "dataset"]

VARIABLES = {
    "threshold": ("threshold", "data"),
    "xi": ("shape of the generalised Pareto distribution of the excesses", "1"),
    "sigma": ("scale of the generalised Pareto distribution of the excesses", "data"),
    "n": ("number of observations", "1"),
    "n_excess": ("number of observations beyond the threshold", "1"),
    "status": ("status of the fit", ""),
    "mean": ("mean of the observations", "data"),
    "std": ("standard deviation of the observations", "data"),
    "mean_excess": ("mean excess over the threshold", "data"),
    "loglik": ("logarithm of the likelihood of the excesses", "1"),
    "se_xi": ("standard error of the shape", "1"),
    "se_sigma": ("standard error of the scale", "data"),
    "cov": ("covariance of shape and scale", "data"),
    "resolution": ("step to which the observations are rounded, 0 where there is none", "data"),
    "left_out": ("number of observations that stood apart and were left out", "1"),
    "largest": ("most extreme observations, ascending (of -x for the lower side)", "data"),
}
"""The arrays of a tail: what each is, and its units, "data" being those of the observations."""


def attributes(name: str, units: str | None) -> dict[str, Any]:
    """The attributes of a variable, in data of such units."""
    long_name, kind = VARIABLES[name]
    out: dict[str, Any] = {"long_name": long_name}
    if kind == "data" and units is not None:
        out["units"] = units
    elif kind == "1":
        out["units"] = "1"
    if name == "status":
        out["flag_values"] = np.array([int(s) for s in FitStatus], dtype=np.int64)
        out["flag_meanings"] = " ".join(s.name.lower() for s in FitStatus)
    return out


def dataset(
    arrays: Mapping[str, Any],
    dims: Sequence[str],
    coords: Mapping[str, Any],
    attrs: Mapping[str, Any],
    units: str | None,
) -> Any:
    """The `xarray.Dataset` of the arrays of a tail, (cells …), and (cells …, rank) of the largest observations."""
    import xarray as xr

    variables = {
        name: xr.Variable((*dims, "rank") if name == "largest" else tuple(dims), array, attributes(name, units))
        for name, array in arrays.items()
    }
    return xr.Dataset(variables, coords=dict(coords), attrs={k: v for k, v in attrs.items() if v is not None})
