"""Tracing: the layer where values first go astray comes first, and what many units do at once is no unit's fault."""

import numpy as np
import pytest
from planted import KINDS, damaged, faulty, labelled, made

from evtkit.saliency import Batches, calibrate, suspects
from evtkit.saliency.screening import _distance, _surprises
from evtkit.saliency.toy import Toy


@pytest.fixture(scope="module")
def usual():
    return calibrate(made(), Batches(*labelled(2000, seed=1)), progress=False)


def test_the_activations_kept_are_those_of_the_mistakes_kept(usual):
    net = made()
    x, y = labelled(2000, seed=1)
    every = net.activations(x)
    assert usual.activations.shape == (*usual.mistakes.shape, 2)
    wrong = net.predict(x).argmax(axis=1) != y
    for kept in usual.activations[:5]:
        place = np.flatnonzero((every == kept).all(axis=(1, 2)))
        assert len(place) == 1
        assert wrong[place[0]]


def test_calibration_in_other_batches_keeps_the_same(usual):
    other = calibrate(made(), Batches(*labelled(2000, seed=1), 77), progress=False)
    np.testing.assert_allclose(other.activations, usual.activations, rtol=1e-12, atol=1e-12)


def test_a_toys_activations_are_its_weighted_sums():
    net = Toy()
    x = np.random.default_rng(0).normal(size=(5, 6))
    found = net.activations(x)
    np.testing.assert_allclose(found[:, :8, 0], x @ net.w.T)
    np.testing.assert_allclose(found[..., 1], np.abs(found[..., 0]))


def test_a_surprise_is_the_mean_of_places_counted_one_by_one():
    rng = np.random.default_rng(0)
    usual, values = rng.integers(0, 5, (20, 3)).astype(float), rng.integers(0, 5, (4, 3)).astype(float)
    for unit in range(3):
        places = [
            sum(u < v for u in usual[:, unit]) + 0.5 * sum(u == v for u in usual[:, unit]) for v in values[:, unit]
        ]
        smaller, larger = (own[unit] for own in _surprises(usual, values))
        assert smaller == pytest.approx(-np.mean(np.log((np.array(places) + 0.5) / 21)))
        assert larger == pytest.approx(-np.mean(np.log((20.5 - np.array(places)) / 21)))


def test_units_of_measurement_do_not_change_how_far_out_a_value_lies():
    rng = np.random.default_rng(0)
    usual, values = rng.normal(size=(30, 4, 2)), rng.normal(size=(5, 4, 2))
    usual[:, 0] = values[:, 0] = np.nan
    one = _distance(usual, values)
    assert one[0] == 0.0
    np.testing.assert_allclose(_distance(usual * 1e-9, values * 1e-9), one, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_units_before_a_fault_do_not_go_astray(usual, kind):
    net, x, y = faulty(14, kind)
    found = suspects(net, usual, (x, y))
    hidden = found.order[(found.p_value <= 0.05) & (found.order < 24)]
    assert set(hidden.tolist()) <= {14} | {u for u in hidden.tolist() if found.odd[found.order == u][0] < 5.0}


def test_two_units_at_fault_are_both_among_the_first(usual):
    both = 0
    for first, second in ((0, 14), (5, 21), (3, 17)):
        net = made()
        for unit, kind in ((first, "scale"), (second, "stuck")):
            net.rows[unit][:] = damaged(net.rows[unit].copy(), kind, np.random.default_rng(unit))
        x, y = labelled(600, seed=9, noise=0.0)
        wrong = np.flatnonzero(net.predict(x).argmax(axis=1) != y)[:20]
        before = [row.copy() for row in net.rows]
        found = suspects(net, usual, (x[wrong], y[wrong]))
        assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))
        both += {first, second} <= set(found.ranked[:4].tolist())
    assert both >= 2


def test_a_network_that_does_not_tell_its_activations_is_ranked_as_before(usual):
    class Silent(Toy):
        has_activations = False

    net = Silent(hidden=24, classes=6, dead=0, seed=3, reduction="taylor")
    reference = calibrate(net, Batches(*labelled(2000, seed=1)), progress=False)
    assert reference.activations is None
    assert np.array_equal(reference.mistakes, usual.mistakes)
    faulted, x, y = faulty(5, "scale")
    found = suspects(faulted, reference, (x, y))
    assert found.order[0] == 5
    assert not found.odd.any()
