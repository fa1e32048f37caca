"""evtkit: how improbable is this value, given what this channel usually does?

`fit_tail` fits a tail and says how improbable values are, `Spot` and `DSpot` raise alarms on streams, `TailSketch`
takes data that do not fit into memory, `evtkit.saliency` ranks the units of networks. All need NumPy, SciPy and Numba.

Extras bring more: ``pip install 'evtkit[cli,plot]'`` the command ``evtkit`` and pictures; ``torch`` or ``tensorflow``
networks; ``sklearn``, ``pyod`` and ``river`` detectors; ``report`` pages to sign; ``dask`` and ``xarray`` tables and
grids beyond memory. Where one is needed and missing, the error names it.

The names below are loaded when first used, so that importing evtkit costs little more than importing NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evtkit._common.version import __version__ as __version__

if TYPE_CHECKING:
    from evtkit import cleaning as cleaning
    from evtkit import covariates as covariates
    from evtkit import dated as dated
    from evtkit import dependence as dependence
    from evtkit import families as families
    from evtkit import gev as gev
    from evtkit import gof as gof
    from evtkit import gpd as gpd
    from evtkit import intervals as intervals
    from evtkit import plot as plot
    from evtkit import predictive as predictive
    from evtkit import pvalues as pvalues
    from evtkit import reports as reports
    from evtkit import saliency as saliency
    from evtkit import spot as spot
    from evtkit import testing as testing
    from evtkit import threshold as threshold
    from evtkit.fit import FitStatus as FitStatus
    from evtkit.fit import GpdFit as GpdFit
    from evtkit.fit import fit_gpd as fit_gpd
    from evtkit.peaks import fit_tail as fit_tail
    from evtkit.ranking import Ranking as Ranking
    from evtkit.sketch import GroupSketch as GroupSketch
    from evtkit.sketch import TailSketch as TailSketch
    from evtkit.spot import DSpot as DSpot
    from evtkit.spot import Spot as Spot
    from evtkit.tail import Tail as Tail

_DEFINED_IN = {
    "DSpot": "evtkit.spot",
    "FitStatus": "evtkit.fit",
    "GpdFit": "evtkit.fit",
    "GroupSketch": "evtkit.sketch",
    "Ranking": "evtkit.ranking",
    "Spot": "evtkit.spot",
    "Tail": "evtkit.tail",
    "TailSketch": "evtkit.sketch",
    "fit_gpd": "evtkit.fit",
    "fit_tail": "evtkit.peaks",
}
_MODULES = (
    "cleaning",
    "covariates",
    "dated",
    "dependence",
    "families",
    "gev",
    "gof",
    "gpd",
    "intervals",
    "plot",
    "predictive",
    "pvalues",
    "reports",
    "saliency",
    "spot",
    "testing",
    "threshold",
)

__all__ = sorted([*_DEFINED_IN, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _DEFINED_IN:
        value = getattr(importlib.import_module(_DEFINED_IN[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"evtkit.{name}")
    else:
        raise AttributeError(f"module 'evtkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
