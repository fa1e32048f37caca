"""The extremal index and declustering."""

from __future__ import annotations

import numpy as np
import pytest

from evtkit.dependence import decluster, extremal_index


def moving_maximum(n, width, seed):
    """Maxima of `width` independent Fréchet variables: θ = 1/width."""
    z = -1 / np.log(np.random.default_rng(seed).random(n + width - 1))
    return np.lib.stride_tricks.sliding_window_view(z, width).max(axis=1)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_intervals_estimator_finds_the_extremal_index(width):
    x = np.column_stack([moving_maximum(100_000, width, seed) for seed in range(8)])
    estimates = extremal_index(x, np.quantile(x, 0.99, axis=0))
    assert np.all(estimates <= 1.0)
    assert np.mean(estimates) == pytest.approx(1 / width, rel=0.06)


def test_runs_estimator_is_clusters_over_exceedances():
    x = [5, 5, 0, 5, 0, 0, 5, 0, 0, 0, 5]
    assert extremal_index(x, 1, run_length=1) == 4 / 5
    assert extremal_index(x, 1, run_length=2) == 3 / 5
    assert extremal_index(x, 1, run_length=3) == 2 / 5
    assert extremal_index(x, 1, run_length=4) == 1 / 5


def test_intervals_estimator_is_its_formula():
    x = np.zeros(40)
    x[[0, 1, 9, 10, 11, 30]] = 1
    t = np.array([1.0, 8.0, 1.0, 1.0, 19.0])
    expected = 2 * (t - 1).sum() ** 2 / (5 * ((t - 1) * (t - 2)).sum())
    assert extremal_index(x, 0.5) == pytest.approx(min(1.0, expected))
    # no gap above two: the other moment equation
    assert extremal_index([1, 1, 0, 1, 1], 0.5) == pytest.approx(min(1.0, 2 * 16 / (3 * 6)))


def test_channels_have_their_own_thresholds():
    x = np.column_stack([moving_maximum(5000, w, seed=w) for w in (1, 2, 3)])
    u = np.quantile(x, 0.95, axis=0)
    for run_length in (None, 2):
        together = extremal_index(x, u, run_length=run_length)
        assert together.shape == (3,)
        for j in range(3):
            assert together[j] == extremal_index(x[:, j], u[j], run_length=run_length)


def test_too_few_exceedances_have_no_index():
    assert np.isnan(extremal_index([0.0, 5.0, 0.0], 1.0))
    assert np.isnan(extremal_index([0.0, 0.0], 1.0, run_length=1))
    assert extremal_index([0.0, 5.0, 0.0], 1.0, run_length=1) == 1.0


def test_clusters_and_runs_estimator_agree():
    x = moving_maximum(5000, 3, seed=2)
    u = np.quantile(x, 0.95)
    clusters = decluster(x, u, run_length=4)
    assert clusters.size.sum() == np.sum(x > u)
    assert extremal_index(x, u, run_length=4) == clusters.size.size / clusters.size.sum()


def test_clusters_are_what_they_say():
    x = moving_maximum(3000, 3, seed=3)
    u = float(np.quantile(x, 0.95))
    for clusters in (decluster(x, u, run_length=3), decluster(x, u)):
        outside = np.ones(x.size, dtype=bool)
        for start, stop, size, peak, value in zip(
            clusters.start, clusters.stop, clusters.size, clusters.peak, clusters.peak_value, strict=True
        ):
            assert x[start] > u
            assert x[stop - 1] > u
            assert np.sum(x[start:stop] > u) == size
            assert value == x[peak] == x[start:stop].max()
            assert start <= peak < stop
            outside[start:stop] = False
        assert np.all(x[outside] <= u)
        assert np.all(clusters.start[1:] - clusters.stop[:-1] >= clusters.run_length)


def test_intervals_declustering_has_about_theta_n_clusters(rain):
    theta = extremal_index(rain, 30.0)
    clusters = decluster(rain, 30.0)
    assert clusters.size.sum() == 152
    assert clusters.size.size <= np.floor(theta * 152) + 1
    assert clusters.run_length == 2
    assert clusters.size.size == 143


def test_independent_exceedances_are_clusters_of_one():
    x = np.zeros(100)
    x[::10] = np.arange(1, 11)
    clusters = decluster(x, 0.5)
    assert clusters.run_length == 0 or clusters.size.max() == 1
    assert clusters.peak_value.tolist() == list(range(1, 11))


def test_a_stream_has_the_moments_of_what_is_not_missing():
    clusters = decluster([1.0, np.nan, 4.0, 10.0], 3.0, run_length=1)
    assert (clusters.n, clusters.mean, clusters.variance) == (3, 5.0, 21.0)
    assert (decluster([7.0, np.nan], 3.0).n, decluster([7.0, np.nan], 3.0).variance) == (1, 0.0)
    assert np.isnan(decluster([np.nan], 3.0).mean)


def test_of_equal_values_the_first_is_the_peak():
    assert decluster([0, 3, 3, 0], 1, run_length=1).peak.tolist() == [1]


def test_no_exceedance_no_cluster():
    clusters = decluster([0.0, 1.0], 5.0)
    assert clusters.start.size == clusters.peak_value.size == 0


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (extremal_index, {"x": [1.0, np.inf], "threshold": 0.5}, "finite, or NaN where it is missing; got inf"),
        (extremal_index, {"x": [1.0, -np.inf], "threshold": 0.5}, "got -inf"),
        (decluster, {"x": [1.0, np.inf], "threshold": 0.5}, "got inf"),
        (decluster, {"x": [1.0, 2.0], "threshold": np.nan}, "got nan"),
        (extremal_index, {"x": [1.0, 2.0], "threshold": np.nan}, "got nan"),
        (extremal_index, {"x": np.ones((2, 2, 2)), "threshold": 0.5}, r"got \(2, 2, 2\)"),
        (extremal_index, {"x": np.ones((4, 2)), "threshold": [1.0, 2.0, 3.0]}, r"\(2,\); got shape \(3,\)"),
        (extremal_index, {"x": [1.0, 2.0], "threshold": 0.5, "run_length": 0}, "at least 1, got 0"),
        (decluster, {"x": [1.0, 2.0], "threshold": 0.5, "run_length": 1.5}, r"got 1\.5"),
        (decluster, {"x": np.ones((4, 2)), "threshold": 0.5}, r"one stream.*\(4, 2\)"),
        (decluster, {"x": ["a"], "threshold": 0.5}, "real numbers"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:30]),
)
def test_bad_input_raises(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**arguments)
