"""The exact fit: its laws, its maximum, its statuses and what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import genpareto

from evtkit import FitStatus, fit_gpd, gpd
from evtkit import testing as laws


def random_samples(count: int, seed: int, least: int = 2, most: int = 500) -> list[np.ndarray]:
    """Samples of every kind: ξ from −1.5 to 3, rounded, tied, of mixed scales, from 1e−280 to 1e280."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        n = int(np.exp(rng.uniform(np.log(least), np.log(most + 1))))
        y = gpd.rvs(rng.uniform(-1.5, 3.0), 1.0, n, rng)
        kind = i % 8
        if kind == 1:
            y = np.maximum(np.rint(y * 10), 1) / 10
        elif kind == 2:
            y = rng.integers(1, 6, n).astype(float)
        elif kind == 3:
            y = y * 10.0 ** (rng.uniform(-6, 6) * (rng.random(n) < 0.3))
        elif kind == 4:
            y = rng.uniform(0.0, 1.0, n) + rng.choice([0.0, 1e-9, 1.0])
        elif kind == 5:
            y = gpd.rvs(rng.uniform(-1e-3, 1e-3), 1.0, n, rng)
        y = np.clip(y, 1e-12, 1e12)
        if kind >= 6:
            y = y * 10.0 ** rng.integers(-268, 268)
        out.append(y[y > 0])
    return out


def ragged(samples: list[np.ndarray]) -> np.ndarray:
    matrix = np.full((max(map(len, samples)), len(samples)), np.nan)
    for j, sample in enumerate(samples):
        matrix[: len(sample), j] = sample
    return matrix


def same(a, b, rtol=0.0):
    for name in ("xi", "sigma", "loglik", "se_xi", "se_sigma"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=0, err_msg=name)
    np.testing.assert_array_equal(a.status, b.status)
    np.testing.assert_array_equal(a.n, b.n)


def test_fit_obeys_every_law():
    assert laws.check_gpd_estimator(fit_gpd, max_examples=100).passed


@pytest.mark.parametrize(
    ("count", "least", "most"), [(400, 513, 5_000), pytest.param(4_000, 2, 500, marks=pytest.mark.slow)]
)
def test_likelihood_is_never_below_brute_force(count, least, most):
    samples = random_samples(count, 7, least, most)
    fit = fit_gpd(ragged(samples))
    for i, y in enumerate(samples):
        if fit.status[i] <= FitStatus.BOUNDARY:
            reached = laws.loglik(y, fit.xi[i], fit.sigma[i])
            assert reached >= laws.brute_force_loglik(y) - 1e-8 * y.size, (i, y.tolist())
            assert reached == pytest.approx(fit.loglik[i], rel=1e-9, abs=1e-8 * y.size), i
        else:
            assert fit.status[i] == FitStatus.CONSTANT, (i, y.tolist())
            assert np.ptp(y) == 0.0


@pytest.mark.slow
def test_likelihood_is_never_below_scipys():
    samples = [y for y in random_samples(2_000, seed=8) if 1e-3 < y.mean() < 1e3 and np.ptp(y) > 0][:150]
    compared = 0
    for y in samples:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            c, _, scale = genpareto.fit(y, floc=0.0)
        if c >= -1.0 and scale > 0.0:
            fit = fit_gpd(y)
            assert fit.loglik >= genpareto.logpdf(y, c, scale=scale).sum() - 1e-8 * y.size, y.tolist()
            compared += 1
    assert compared > 50


def test_scale_equivariance_to_twelve_digits():
    rng = np.random.default_rng(3)
    for xi in (-0.8, -0.3, 0.0, 0.4, 1.5):
        y = gpd.rvs(xi, 1.0, (400, 30), rng)
        fit = fit_gpd(y)
        for factor in (1e-250, 1e-5, 3.0, 7e9, 1e250):
            other = fit_gpd(factor * y)
            np.testing.assert_allclose(other.xi, fit.xi, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(other.sigma / factor, fit.sigma, rtol=1e-12)


@settings(max_examples=100)
@given(laws.samples())
def test_units_that_are_powers_of_two_change_no_bit(y):
    exponent = -int(np.frexp(y.max())[1])
    a, b = fit_gpd(y), fit_gpd(np.ldexp(y, exponent))
    if np.ldexp(y, exponent).min() > 1e-290:
        np.testing.assert_allclose(b.xi, a.xi, rtol=1e-12, atol=1e-12)
        assert np.ldexp(a.sigma, exponent) == pytest.approx(float(b.sigma), rel=1e-12)


def test_the_order_of_many_excesses_does_not_matter():
    rng = np.random.default_rng(4)
    y = gpd.rvs(0.3, 1.0, (5000, 4), rng)
    same(fit_gpd(y), fit_gpd(rng.permuted(y, axis=0)), rtol=1e-11)
    same(fit_gpd(y), fit_gpd(np.sort(y, axis=0)), rtol=1e-11)


def test_threads_and_neighbours_do_not_change_a_bit():
    matrix = ragged(random_samples(500, seed=5))
    together = fit_gpd(matrix, n_threads=1)
    same(together, fit_gpd(matrix, n_threads=4))
    for j in range(0, 500, 37):
        alone = fit_gpd(matrix[~np.isnan(matrix[:, j]), j])
        assert (alone.xi, alone.sigma, alone.n) == (together.xi[j], together.sigma[j], together.n[j])


def test_padding_may_be_anywhere():
    rng = np.random.default_rng(6)
    y = gpd.rvs(0.2, 1.0, 50, rng)
    padded = np.full((80, 2), np.nan)
    padded[np.sort(rng.choice(80, 50, replace=False)), 0] = y
    fit = fit_gpd(padded)
    assert (fit.xi[0], fit.n[0]) == (fit_gpd(y).xi, 50)
    assert (fit.status[1], fit.n[1]) == (FitStatus.EMPTY, 0)


def test_axis_and_shape():
    y = gpd.rvs(0.1, 1.0, (30, 4, 5), rng=1)
    fit = fit_gpd(y)
    assert fit.xi.shape == fit.n.shape == (4, 5)
    same(fit, fit_gpd(np.moveaxis(y, 0, 1), axis=1))
    same(fit, fit_gpd(np.moveaxis(y, 0, 2), axis=-1))
    assert fit_gpd(y[:, 0, 0]).xi.shape == ()
    assert fit_gpd(np.empty((10, 0))).xi.shape == (0,)


def test_float32_is_computed_in_float64():
    y = gpd.rvs(0.1, 1.0, (200, 3), rng=1).astype(np.float32)
    fit = fit_gpd(y)
    assert fit.xi.dtype == np.float64
    same(fit, fit_gpd(y.astype(np.float64)))


def test_read_only_and_strided_input():
    y = gpd.rvs(0.1, 1.0, (200, 6), rng=1)
    y.flags.writeable = False
    same(fit_gpd(y[::2, ::3]), fit_gpd(y[::2, ::3].copy()))
    same(fit_gpd(np.asfortranarray(y)), fit_gpd(y))


@pytest.mark.parametrize(
    ("y", "status", "xi", "sigma"),
    [
        ([], FitStatus.EMPTY, np.nan, np.nan),
        ([np.nan, np.nan], FitStatus.EMPTY, np.nan, np.nan),
        ([3.0], FitStatus.TOO_FEW, np.nan, np.nan),
        ([3.0, 3.0, 3.0], FitStatus.CONSTANT, -1.0, 3.0),
        ([5e-324, 5e-324], FitStatus.CONSTANT, -1.0, 5e-324),
        ([1.0, 2.0], FitStatus.BOUNDARY, -1.0, 2.0),
        ([1.0, 2.0, 3.0, 4.0], FitStatus.BOUNDARY, -1.0, 4.0),
    ],
)
def test_statuses(y, status, xi, sigma):
    fit = fit_gpd(np.array(y, dtype=float))
    assert fit.status == status
    np.testing.assert_equal((float(fit.xi), float(fit.sigma)), (xi, sigma))


def test_the_boundary_is_the_largest_excess_to_the_last_bit():
    for y in np.random.default_rng(0).uniform(0.9, 1.0, (200, 3)):
        fit = fit_gpd(y)
        assert fit.status == FitStatus.BOUNDARY
        assert fit.sigma == y.max()
        assert laws.loglik(y, fit.xi, fit.sigma) == pytest.approx(-3 * np.log(y.max()), abs=1e-15)


def test_ordinary_fits_are_ok_and_have_standard_errors():
    fit = fit_gpd(gpd.rvs(0.2, 1.0, (1000, 50), rng=2))
    assert np.all(fit.status == FitStatus.OK)
    # asymptotically var(ξ, σ, cov) = ((1+ξ)², 2σ²(1+ξ), −σ(1+ξ))/n (Smith 1985)
    assert np.mean(fit.se_xi) == pytest.approx(1.2 / np.sqrt(1000), rel=0.03)
    assert np.mean(fit.se_sigma) == pytest.approx(np.sqrt(2 * 1.2 / 1000), rel=0.03)
    assert np.mean(fit.cov) == pytest.approx(-1.2 / 1000, rel=0.05)
    assert np.std(fit.xi) == pytest.approx(1.2 / np.sqrt(1000), rel=0.3)


def test_standard_errors_end_at_minus_one_half():
    fit = fit_gpd(gpd.rvs(-0.8, 1.0, (200, 20), rng=2))
    assert np.all(np.isnan(fit.se_xi[fit.xi <= -0.5]))
    assert np.all(fit.xi <= -0.5)


def test_covariance_is_the_inverse_of_the_likelihoods_curvature():
    for xi in (-0.4, 1e-5, 0.5):
        y = gpd.rvs(xi, 2.0, 300, rng=4)
        fit = fit_gpd(y)
        at = np.array([float(fit.sigma), float(fit.xi)])
        h = 1e-4

        def curvature(i, j, y=y, at=at, h=h):
            steps = [(a, b) for a in (h, -h) for b in (h, -h)]
            return sum(
                np.sign(a * b) * laws.loglik(y, *(at + a * np.eye(2)[i] + b * np.eye(2)[j])[::-1]) for a, b in steps
            ) / (4 * h * h)

        information = -np.array([[curvature(i, j) for j in range(2)] for i in range(2)])
        covariance = np.linalg.inv(information)
        assert fit.se_sigma**2 == pytest.approx(covariance[0, 0], rel=1e-4)
        assert fit.se_xi**2 == pytest.approx(covariance[1, 1], rel=1e-4)
        assert fit.cov == pytest.approx(covariance[0, 1], rel=1e-4)


BAD = [
    ({"excesses": [1.0, np.inf]}, r"positive and finite.*got inf"),
    ({"excesses": [1.0, -np.inf]}, r"got -inf"),
    ({"excesses": [1.0, 0.0]}, r"got 0.0"),
    ({"excesses": [1.0, -2.0]}, r"got -2.0"),
    ({"excesses": np.array([[1.0, 2.0], [3.0, -4.0]])}, r"got -4.0"),
    ({"excesses": 3.0}, r"at least one axis"),
    ({"excesses": ["a", "b"]}, r"real numbers"),
    ({"excesses": [1.0, None, "x"]}, r"real numbers"),
    ({"excesses": [1j, 2j]}, r"real numbers"),
    ({"excesses": [True, False]}, r"real numbers"),
    ({"excesses": [1.0, 2.0], "axis": 1}, r"axis must lie in \[-1, 0\], got 1"),
    ({"excesses": [1.0, 2.0], "method": "best"}, r"method must be one of 'mle'.*got 'best'"),
    ({"excesses": [1.0, 2.0], "n_threads": 0}, r"n_threads must be an integer of at least 1, got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_gpd(**arguments)


def test_repr_says_what_was_fitted():
    y = gpd.rvs(0.2, 1.0, (50, 2), rng=0)
    assert repr(fit_gpd(y)) == "GpdFit(2 channels: 2 OK; method='mle')"
    assert "status=OK" in repr(fit_gpd(y[:, 0]))
