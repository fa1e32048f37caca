"""A class that cannot be chosen any more: the unit that scores it comes first, unless another stands out clearly."""

import numpy as np
import pytest
from planted import labelled, made

from evtkit.saliency import Batches, calibrate, suspects
from evtkit.saliency.classes import unit_of_class, with_class


def _last(net):
    return np.flatnonzero(net.units.module == net.units.module[-1])


def test_mistakes_of_one_class_put_its_row_first_and_name_nothing():
    usual = calibrate(made(), Batches(*labelled(2000, seed=1)), progress=False)
    net = made()
    x, y = labelled(2000, seed=9)
    wrong = np.flatnonzero((net.predict(x).argmax(axis=1) != y) & (y == 2))[:10]
    found = suspects(net, usual, (x[wrong], y[wrong]))
    assert found.ranked[0] == _last(net)[2]
    assert sorted(found.ranked.tolist()) == list(range(len(net.units)))
    assert found.order[0] not in found.found
    assert found.rows()[1][2] == "its class is missed"


def test_mistakes_of_several_classes_change_no_order():
    net = made()
    x, y = labelled(20, seed=3)
    y[:] = np.arange(20) % 3
    assert with_class(unit_of_class(net, (x, y)), [3, 1, 2], False) == [3, 1, 2]


def test_few_mistakes_of_one_class_may_be_chance():
    net = made()
    x, y = labelled(3, seed=3)
    y[:] = 2
    assert with_class(unit_of_class(net, (x, y)), [3, 1], False) == [3, 1]


@pytest.mark.parametrize(("sure", "place"), [(False, 0), (True, 1)])
def test_a_clear_suspect_stays_before_it(sure, place):
    net = made()
    x, y = labelled(10, seed=3)
    y[:] = 2
    unit = int(_last(net)[2])
    order = with_class(unit_of_class(net, (x, y)), [3, 1, unit], sure)
    assert order[place] == unit
    assert [u for u in order if u != unit] == [3, 1]
    assert with_class(unit_of_class(net, (x, y)), [unit, 3], sure) == [unit, 3]
