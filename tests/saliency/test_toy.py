"""The toy network keeps the protocol, and its gradients are right."""

import numpy as np
import pytest

from evtkit.saliency import SaliencyModel, UnitGradient
from evtkit.saliency.toy import Toy, samples


def test_it_keeps_the_protocol():
    net, (x, y) = Toy(), samples(4)
    assert isinstance(net, SaliencyModel)
    assert isinstance(net.gradient(x, y), UnitGradient)


def test_profiles_and_gradients_equal_finite_differences():
    net, (x, y) = Toy(), samples(3)
    profile, gradient = net.profile(x, y), net.gradient(x, y)
    slope_rows = [*gradient.parameters["layer1.conv.w"], *gradient.parameters["fc.v"]]
    for unit, row in enumerate(net.rows):
        slopes = np.empty((3, len(row)))
        for weight in range(len(row)):
            losses = []
            for h in (1e-6, -1e-6):
                row[weight] += h
                losses.append(-np.log(net.predict(x)[np.arange(3), y]))
                row[weight] -= h
            slopes[:, weight] = (losses[0] - losses[1]) / 2e-6
        np.testing.assert_allclose(profile[:, unit], np.abs(slopes).mean(axis=1), atol=1e-8)
        np.testing.assert_allclose(slope_rows[unit], slopes.mean(axis=0), atol=1e-8)
        assert gradient.norms[unit] == pytest.approx(np.linalg.norm(slopes.mean(axis=0)), abs=1e-8)


def test_changes_are_undone_also_after_an_exception():
    net, (x, y) = Toy(), samples(3)
    before = [row.copy() for row in net.rows]

    def fail():
        with net.pruned([1]), net.tuned([2], x, y, step=1.0):
            assert net.unit_norms([1]) == 0.0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))
