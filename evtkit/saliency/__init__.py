"""Parameter saliency: which parts of a network made this mistake, and what happens if they are changed.

Framework-free: a network is known through the few methods of `SaliencyModel`, which `evtkit_torch.TorchModel` provides
for PyTorch and `evtkit_keras.KerasModel` for Keras. The way data takes::

    calibrate(model, batches) ──► Reference ──► .rank(profile) ──► UnitRanking ──► .table() .enrichment()
                                      ├──► suspects(model, reference, mistakes) ──► Suspects ──► .table()
                                      └──► evaluate(model, reference, mistakes) ──► RepairResults ──► .table()

The names below are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evtkit.saliency.accused import Suspects as Suspects
    from evtkit.saliency.batches import Batches as Batches
    from evtkit.saliency.batches import held_out_split as held_out_split
    from evtkit.saliency.calibration import calibrate as calibrate
    from evtkit.saliency.evaluation import evaluate as evaluate
    from evtkit.saliency.finding import suspects as suspects
    from evtkit.saliency.protocol import SaliencyModel as SaliencyModel
    from evtkit.saliency.protocol import UnitGradient as UnitGradient
    from evtkit.saliency.rankings import Enrichment as Enrichment
    from evtkit.saliency.rankings import UnitRanking as UnitRanking
    from evtkit.saliency.reference import Reference as Reference
    from evtkit.saliency.repairing import repair as repair
    from evtkit.saliency.repairs import Repair as Repair
    from evtkit.saliency.reporting import report as report
    from evtkit.saliency.results import RepairCurves as RepairCurves
    from evtkit.saliency.results import RepairResults as RepairResults
    from evtkit.saliency.summaries import write_summary as write_summary
    from evtkit.saliency.units import Coverage as Coverage
    from evtkit.saliency.units import LeftOut as LeftOut
    from evtkit.saliency.units import Units as Units
    from evtkit.saliency.watching import UnitWatch as UnitWatch
    from evtkit.saliency.watching import watch as watch

_DEFINED_IN = {
    "Batches": "batches",
    "Coverage": "units",
    "Enrichment": "rankings",
    "LeftOut": "units",
    "Reference": "reference",
    "Repair": "repairs",
    "RepairCurves": "results",
    "RepairResults": "results",
    "SaliencyModel": "protocol",
    "Suspects": "accused",
    "UnitGradient": "protocol",
    "UnitRanking": "rankings",
    "UnitWatch": "watching",
    "Units": "units",
    "calibrate": "calibration",
    "evaluate": "evaluation",
    "held_out_split": "batches",
    "repair": "repairing",
    "report": "reporting",
    "suspects": "finding",
    "watch": "watching",
    "write_summary": "summaries",
}

__all__ = sorted(_DEFINED_IN)


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'evtkit.saliency' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"evtkit.saliency.{_DEFINED_IN[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
