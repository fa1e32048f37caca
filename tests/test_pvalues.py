"""Combined p-values that hold however the tests depend on each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit.pvalues import METHODS, combine_p_values


def worst_cases(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """P-values (5, draws), each uniform, that depend on each other in ways that a careless rule falls for."""
    u = rng.random(40_000)
    return {
        "equal": np.tile(u, (5, 1)),
        "independent": rng.random((5, 40_000)),
        "exclusive": (u + np.arange(5)[:, None] / 5) % 1.0,
        "opposed": np.stack([u, 1 - u, u, 1 - u, u]),
        "gaussian": np.exp(-2 * np.abs(np.log(u)) / 2) * np.ones((5, 1)),
    }


@pytest.mark.parametrize("method", ["bonferroni", "geometric"])
@pytest.mark.parametrize("case", ["equal", "independent", "exclusive", "opposed", "gaussian"])
def test_some_methods_hold_whatever_the_dependence(method, case):
    p = worst_cases(np.random.default_rng(0))[case]
    combined = np.exp(combine_p_values(np.log(p), method))
    for level in (0.1, 0.01):
        assert (combined <= level).mean() <= level + 4 * np.sqrt(level / combined.size)


def test_bonferroni_is_attained_by_exclusive_tests():
    p = worst_cases(np.random.default_rng(0))["exclusive"]
    assert (np.exp(combine_p_values(np.log(p), "bonferroni")) <= 0.1).mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_one_p_value_stays_what_it_is(method):
    log_p = np.log([[1e-300, 0.001, 0.3, 1.0]])
    assert np.allclose(combine_p_values(log_p, method), log_p[0], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@given(st.lists(st.floats(1e-12, 1.0), min_size=2, max_size=6), st.integers(0, 5), st.floats(0.01, 0.9))
def test_a_smaller_p_value_never_makes_the_combined_one_larger(method, p, place, factor):
    less = np.array(p)
    less[place % less.size] *= factor
    assert combine_p_values(np.log(less), method) <= combine_p_values(np.log(p), method) + 1e-9


def test_fisher_and_geometric_order_alike():
    log_p = np.log(np.random.default_rng(0).random((4, 50)) * 0.3)
    fisher, geometric = (combine_p_values(log_p, m) for m in ("fisher", "geometric"))
    unequal = geometric < 0
    assert np.array_equal(*(np.argsort(p[unequal], kind="stable") for p in (fisher, geometric)))


def test_without_clipping_what_says_nothing_keeps_an_order():
    log_p = np.log([[0.6, 0.9], [0.8, 0.95]])
    assert combine_p_values(log_p, "bonferroni").tolist() == [0.0, 0.0]
    assert np.allclose(np.exp(combine_p_values(log_p, "bonferroni", clip=False)), [1.2, 1.8])


def test_unknown_methods_are_named():
    with pytest.raises(ValueError, match=r"method must be one of .bonferroni.* got .stouffer"):
        combine_p_values([0.0], "stouffer")


@pytest.mark.parametrize("empty", [np.float64(-1.0), np.empty((0, 3)), np.empty(0)])
def test_there_must_be_a_p_value(empty):
    with pytest.raises(ValueError, match="at least one p-value along axis 0, got shape"):
        combine_p_values(empty)
