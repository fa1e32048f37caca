"""A user's program that type checkers read and nobody runs: every line holds evtkit to a type that it promises.

`make lint` reads it with mypy, `make types` with pyright.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from evtkit_keras import KerasModel
from evtkit_torch import TorchModel
from numpy.typing import NDArray

import evtkit
from evtkit import DSpot, GpdFit, GroupSketch, Ranking, Spot, Tail, TailSketch, covariates, dated, dependence, gev, gof
from evtkit.interop.calibrated import CalibratedDetector
from evtkit.intervals import Interval
from evtkit.saliency import Reference, RepairResults, UnitRanking, calibrate, evaluate, repair, suspects
from evtkit.saliency.accused import Suspects
from evtkit.saliency.repairs import Repair
from evtkit.spot import Event, Repeat, Seasonal, Stuck, Trace
from evtkit.threshold import ThresholdChoice, suggest_threshold

Floats = NDArray[np.float64]


def statistics(x: Floats) -> None:
    """A fit, its levels and their limits."""
    fit = evtkit.fit_gpd(x)
    assert_type(fit, GpdFit)
    assert_type(fit.xi, Floats)
    tail = evtkit.fit_tail(x, quantile=0.9)
    assert_type(tail, Tail)
    assert_type(tail[0], Tail)
    assert_type(tail.sf(3.0), Floats)
    assert_type(tail.isf([1e-3, 1e-4]), Floats)
    assert_type(tail.notes, tuple[str, ...])
    assert_type(tail.return_level(100), Floats)
    assert_type(tail.return_level([100, 1000], interval=0.95), Interval)
    assert_type(tail.expected_shortfall(0.01), Floats)
    assert_type(tail.expected_shortfall(0.01, interval=0.95), Interval)
    assert_type(tail.mean_excess_beyond(3.0), Floats)
    assert_type(tail.rank(x, names=["a"]), Ranking)
    assert_type(tail.rank(x).table(10), str)
    assert_type(tail.goodness_of_fit(), gof.GoodnessOfFit)
    assert_type(suggest_threshold(x), ThresholdChoice)
    blocks = gev.fit_gev(x)
    assert_type(blocks, gev.GevFit)
    assert_type(blocks.return_level(100), Floats)
    assert_type(blocks.return_level(100, interval=0.95), Interval)
    assert_type(dependence.extremal_index(x, 3.0), Floats)
    tail.save("tail.npz")
    assert_type(Tail.load("tail.npz"), Tail)


def dates(rain: Any, hour: Floats) -> None:
    """A series with its times, and a tail that depends on the hour."""
    assert_type(evtkit.fit_tail(rain, threshold=30.0), Tail)
    assert_type(dependence.decluster(rain, 30.0, span="48h"), dependence.Clusters)
    assert_type(dated.block_maxima(rain, "YS"), dated.BlockMaxima)
    day = covariates.harmonics(hour / 24)
    assert_type(covariates.fit_tail(rain, threshold=day, sigma=day), covariates.CovariateTail)


def streams(x: Floats) -> list[Event]:
    """Alarms, each incident once."""
    assert_type(DSpot(risk=1e-4, side="both").fit(x), DSpot)
    assert_type(Seasonal(season="day").fit(x), Seasonal)
    assert_type(Stuck(x).feed(x), list[Repeat])
    spot = Spot(risk=1e-4).fit(x)
    assert_type(spot, Spot)
    assert_type(spot.update(x), NDArray[np.int8])
    assert_type(spot.trace(x), Trace)
    for event in spot.events(x):
        assert_type(event, Event)
    return spot.events(x)


def parts(blocks: list[Floats], keys: list[str]) -> None:
    """What does not fit into memory, or has many sensors."""
    sketch = TailSketch(3, 1000)
    for block in blocks:
        sketch.update(block)
    assert_type(sketch.fit(quantile=0.9), Tail)
    groups = GroupSketch(1000)
    groups.update(keys, blocks[0])
    assert_type(groups.fit(quantile=0.9), Tail)
    assert_type(CalibratedDetector(risk=0.01).fit(blocks[0]), CalibratedDetector)
    assert_type(CalibratedDetector().fit(blocks[0]).predict(blocks[0]), NDArray[np.int64])


def networks(torch_network: Any, keras_network: Any, x: Any, y: Any) -> None:
    """From a network and its mistakes to the units at fault and a repair."""
    for net in (TorchModel(torch_network), KerasModel(keras_network)):
        reference = calibrate(net, [(x, y)])
        assert_type(reference, Reference)
        assert_type(reference.rank(net.profile(x, y)), UnitRanking)
        assert_type(suspects(net, reference, (x, y)), Suspects)
        assert_type(repair(net, reference, (x, y), keep=(x, y)), Repair)
        assert_type(evaluate(net, reference, (x, y), held_out=(x, y)), RepairResults)
