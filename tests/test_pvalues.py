"""Combined p-values that hold however the tests depend on each other."""

from __future__ import annotations

import mpmath as mp
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


def by_definition(logs: list[float], method: str) -> float:
    """The combined p-value's logarithm with 60 digits, from the formulas of the papers."""
    with mp.workdps(60):
        p, n = [mp.exp(mp.mpf(one)) for one in logs], len(logs)
        if method == "fisher":
            half = -mp.fsum(mp.mpf(one) for one in logs)
            return float(mp.log(mp.gammainc(n, half, mp.inf, regularized=True)))
        if method == "cauchy":
            mean = mp.fsum(mp.cot(mp.pi * one) for one in p) / n
            return float(mp.log(mp.atan2(1, mean) / mp.pi))
        mean = {"bonferroni": n * min(p), "geometric": mp.e * mp.exp(mp.fsum(map(mp.log, p)) / n),
                "harmonic": n / mp.fsum(1 / one for one in p)}[method]  # fmt: skip
        return float(mp.log(mean))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2, 5])
def test_combined_p_values_are_those_of_the_definitions(method, n):
    rng = np.random.default_rng(n)
    log_p = -rng.exponential(1.0, size=(n, 3, 4)) * [1e-6, 1.0, 30.0, 900.0]  # each column of another size
    log_p[0, 0] = [-1e-3, -700.0, -1.0, -2000.0]  # what is steep beside what is not
    found = combine_p_values(log_p, method, clip=False)
    wanted = [[by_definition(list(log_p[:, i, j]), method) for j in range(4)] for i in range(3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_impossible_stays_impossible(method):
    combined = combine_p_values([[-np.inf, -1.0], [-np.inf, -2.0]], method)
    assert combined[0] == -np.inf
    assert np.isfinite(combined[1])


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
