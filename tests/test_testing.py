"""The checks that users run on their own estimators: they find what is broken, and name it."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import find, given
from scipy.stats import genpareto

from evtkit import fit_gpd, gpd
from evtkit import testing as laws
from evtkit.testing.laws import LAWS

NAMES = [law.__name__ for law in LAWS]


def scipys(y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        c, _, scale = genpareto.fit(y, floc=0.0)
    return c, scale


def broken_laws(fit, **options):
    report = laws.check_gpd_estimator(fit, raise_on_failure=False, **{"max_examples": 60, **options})
    return {result.law for result in report.failures}


def altered(change):
    """fit_gpd with its ξ and σ changed, for one channel."""

    def fit(y):
        result = fit_gpd(y)
        if not 0 <= result.status <= 1:
            raise ValueError("no fit")
        return change(y, float(result.xi), float(result.sigma))

    return fit


def test_scipys_fit_breaks_units_and_the_maximum():
    broken = broken_laws(scipys, max_examples=15)
    assert {"scale_equivariance", "maximum_likelihood"} <= broken


# what is changed → the law that it must break
BROKEN = {
    "maximum_likelihood": lambda y, xi, sigma: (xi + 1e-2, sigma),
    "scale_equivariance": lambda y, xi, sigma: (xi, sigma + 1e-6),
    "permutation_invariance": lambda y, xi, sigma: (xi + 1e-4 * (y[0] == y.max()), sigma),
    "positive_scale": lambda y, xi, sigma: (xi, -sigma),
    "finite_or_status": lambda y, xi, sigma: (np.nan if xi > 0.5 else xi, sigma),
    "support_contains_data": lambda y, xi, sigma: (xi, 0.5 * sigma),
}


@pytest.mark.parametrize(("law", "change"), BROKEN.items(), ids=BROKEN)
def test_a_broken_estimator_breaks_its_law(law, change):
    assert law in broken_laws(altered(change))


def test_an_estimator_that_changes_its_input_is_found():
    def fit(y):
        y.sort()
        return fit_gpd(y).xi, fit_gpd(y).sigma

    assert "same_twice" in broken_laws(fit)


def test_an_estimator_that_draws_at_random_is_found():
    rng = np.random.default_rng(0)
    assert "same_twice" in broken_laws(altered(lambda y, xi, sigma: (xi + 1e-9 * rng.random(), sigma)))


def test_neighbours_that_matter_are_found():
    def fit(y, n_threads=None):
        result = fit_gpd(y)
        if y.ndim == 1:
            return result
        object.__setattr__(result, "xi", result.xi + 1e-3 * np.arange(y.shape[1]))
        return result

    assert {"padding_is_absence", "channels_are_independent"} <= broken_laws(fit)


def test_padding_that_counts_is_found():
    def fit(y):
        return fit_gpd(np.where(np.isnan(y), 1.0, y))

    assert "padding_is_absence" in broken_laws(fit)


def test_threads_that_matter_are_found():
    def fit(y, n_threads=None):
        result = fit_gpd(y)
        object.__setattr__(result, "xi", result.xi + 1e-12 * (n_threads or 0))
        return result

    assert broken_laws(fit) == {"threads_do_not_matter"}


def test_the_report_names_the_law_and_a_shrunk_sample():
    with pytest.raises(laws.BrokenLawError, match="maximum_likelihood: BROKEN") as caught:
        laws.check_gpd_estimator(altered(BROKEN["maximum_likelihood"]), max_examples=60)
    report = caught.value.report
    (result,) = [r for r in report.failures if r.law == "maximum_likelihood"]
    assert result.sample.size <= 3
    assert "can be reached" in result.message
    assert str(result.sample.tolist()) in str(report)
    assert [r.law for r in report.results] == NAMES


def test_laws_that_do_not_apply_say_why():
    report = laws.check_gpd_estimator(
        lambda y: (0.0, y.mean()), is_maximum_likelihood=False, max_examples=5, raise_on_failure=False
    )
    skipped = {result.law: result.message for result in report.results if result.passed is None}
    assert skipped == {
        "support_contains_data": "claims neither maximum likelihood nor a status",
        "maximum_likelihood": "does not claim maximum likelihood",
        "padding_is_absence": "takes one channel",
        "channels_are_independent": "takes one channel",
        "threads_do_not_matter": "takes one channel",
    }
    assert report.passed


def test_an_exception_is_reported_with_its_sample():
    def fit(y):
        return y.mean(), 1 / (len(np.unique(y)) - 1)

    report = laws.check_gpd_estimator(fit, max_examples=60, raise_on_failure=False)
    (result,) = [r for r in report.failures if r.law == "finite_or_status"]
    assert result.message == "raises ZeroDivisionError: division by zero"
    assert np.ptp(result.sample) == 0.0


def test_the_search_is_its_seed():
    first, again = (
        laws.check_gpd_estimator(altered(BROKEN["scale_equivariance"]), max_examples=30, raise_on_failure=False)
        for _ in range(2)
    )
    assert str(first) == str(again)


@given(laws.samples())
def test_samples_are_samples_of_excesses(y):
    assert y.ndim == 1
    assert y.size >= 2
    assert np.all((y > 0) & np.isfinite(y))


@given(laws.ragged())
def test_matrices_are_padded(matrix):
    assert matrix.ndim == 2
    assert np.all(np.count_nonzero(~np.isnan(matrix), axis=0) >= 2)


@pytest.mark.parametrize(
    "condition",
    [
        lambda y: np.ptp(y) == 0,
        lambda y: y.size == 2,
        lambda y: y.max() > 1e200,
        lambda y: y.max() < 1e-200,
        lambda y: len(set(y)) < y.size,
        lambda y: y.max() / y.min() > 1e6,
        lambda y: fit_gpd(y).status == 1,
        lambda y: fit_gpd(y).xi > 1,
        lambda y: -1 < fit_gpd(y).xi < -0.3,
    ],
)
def test_every_kind_of_sample_is_drawn(condition):
    find(laws.samples(), condition)


def test_brute_force_finds_known_maxima():
    assert laws.brute_force_loglik([1.0, 2.0]) == pytest.approx(-2 * np.log(2.0))  # the boundary
    y = gpd.rvs(0.5, 3.0, 1000, rng=1)
    c, scale = scipys(y)
    assert laws.brute_force_loglik(y) == pytest.approx(genpareto.logpdf(y, c, scale=scale).sum(), abs=1e-4)
    assert laws.brute_force_loglik(1e-200 * y) == pytest.approx(
        laws.brute_force_loglik(y) + 1000 * 200 * np.log(10.0), rel=1e-12
    )


def test_without_hypothesis_the_import_names_the_extra():
    code = "import sys; sys.modules['hypothesis'] = None; import evtkit.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'ImportError: evtkit.testing needs Hypothesis: pip install "evtkit[testing]"' in done.stderr
