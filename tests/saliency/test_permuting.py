"""Permuting: where calibration met few mistakes, no unit is surer than an exchange with these few can show."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest
from planted import faulty, labelled, made

from evtkit.saliency import Batches, Reference, calibrate, suspects
from evtkit.saliency.permuting import set_p_value


@pytest.mark.parametrize("m", [3, 8])
def test_mistakes_like_the_usual_ones_are_called_others_as_seldom_as_stated(m):
    rng = np.random.default_rng(m)
    heavy = rng.standard_t(2.0, size=(200, m + 6, 40)) * rng.gamma(1.0, size=(200, m + 6, 1))  # columns depend
    p = np.array([set_p_value(one[:m], one[m:])[0] for one in heavy])
    assert np.mean(p <= 0.05) <= 0.09  # binomial(200, 0.05): more with a probability of 0.6 %
    assert np.mean(p <= 0.5) >= 0.4


def test_one_column_far_off_is_seen_and_p_is_no_less_than_the_exchanges_show():
    rng = np.random.default_rng(0)
    usual, new = rng.normal(size=(3, 500)), rng.normal(size=(5, 500))
    new[:, 7] += 1e3
    p, least = set_p_value(usual, new)
    assert p == least == 1.0 / comb(8, 3)
    assert set_p_value(usual, new[::-1]) == set_p_value(usual[::-1], new) == (p, least)
    assert set_p_value(usual[:0], new) == (1.0, 1.0)


def test_a_calibration_with_few_mistakes_still_finds_a_fault_and_one_without_says_that_it_cannot_tell(tmp_path):
    few = calibrate(made(), Batches(*labelled(1000, seed=1, noise=0.02)), progress=False)
    assert few.missed == 9
    assert len(few.mistakes) == 32
    few.save(tmp_path / "few.npz")
    assert Reference.load(tmp_path / "few.npz").missed == 9
    net, x, y = faulty(5, "scale")
    found = suspects(net, few, (x, y))
    assert found.found.tolist() == [5]
    assert found.p_none >= 1.0 / 200
    none = suspects(net, replace(few, missed=0), (x, y))
    assert none.order[0] == 5
    assert not len(none.found)
    assert "which a calibration without mistakes cannot show" in repr(none)
    with pytest.raises(ValueError, match="missed must lie"):
        replace(few, missed=33)
