"""Laws with covariates: derivatives, published values, what changes nothing, and agreement with laws without them."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evtkit
from evtkit import covariates, gev, gpd
from evtkit._kernels.regression import log_prior, loglik, terms
from evtkit.covariates.rates import exceedance_rate, quantile_regression

pytest.importorskip("formulaic")
pd = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def fremantle(data_folder):
    year, level, soi = np.genfromtxt(data_folder / "evt" / "fremantle.csv", delimiter=",", skip_header=1).T
    return {"t": (year - year[0]) / (year[-1] - year[0]), "level": level, "soi": soi}


# -- the likelihood ----------------------------------------------------------------------------------------------------


def exact(family, y, mu, eta, xi):
    y, mu, eta, xi = map(mp.mpf, (y, mu, eta, xi))
    z = (y - mu) * mp.exp(-eta)
    b = mp.log(1 + xi * z) / xi if xi else z
    return -eta - (1 + xi) * b - (mp.exp(-b) if family == "gev" else 0)


@pytest.mark.parametrize("family", ["gpd", "gev"])
@pytest.mark.parametrize("xi", [-0.45, -1e-3, -1e-9, 1e-12, 1e-4, 0.1, 0.35, 2.0])
@pytest.mark.parametrize("z", [1e-6, 0.3, 1.9])
def test_derivatives_are_those_of_mpmath(family, xi, z):
    mu, eta = (0.4, 0.3) if family == "gev" else (0.0, 0.3)
    y = mu + z * np.exp(eta)
    args = (family == "gev", y, mu, eta, xi)
    found = np.empty(9)
    terms(*args, found)
    second = dict(zip([(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)], found[3:], strict=True))
    with mp.workdps(50):
        assert loglik(*args) == pytest.approx(float(exact(family, y, mu, eta, xi)), rel=1e-12)
        for i in range(0 if family == "gev" else 1, 3):
            order = [0, 0, 0]
            order[i] = 1
            wanted = mp.diff(lambda m, e, x: exact(family, y, m, e, x), (mu, eta, xi), tuple(order))
            assert found[i] == pytest.approx(float(wanted), rel=1e-10, abs=1e-12)
            for j in range(i, 3):
                order[j] += 1
                wanted = mp.diff(lambda m, e, x: exact(family, y, m, e, x), (mu, eta, xi), tuple(order))
                order[j] -= 1
                assert second[i, j] == pytest.approx(float(wanted), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("prior", [1, 2])
@pytest.mark.parametrize("xi", [-0.3, 0.2, 0.45])
def test_slopes_of_the_priors_are_numerical_ones(prior, xi):
    value, slope, bend = (np.array([log_prior(prior, xi + h) for h in (-1e-4, 0.0, 1e-4)])).T
    assert slope[1] == pytest.approx((value[2] - value[0]) / 2e-4, rel=1e-5, abs=1e-9)
    assert bend[1] == pytest.approx((slope[2] - slope[0]) / 2e-4, rel=1e-5, abs=1e-9)
    beta = 5.0 * np.log(0.5 - xi) + 8.0 * np.log(0.5 + xi)
    assert value[1] == pytest.approx(beta if prior == 2 else min(0.0, 1.0 - 1.0 / (1.0 - xi)), rel=1e-12)


# -- published values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mu", "values", "sigma", "xi", "total"),
    [(None, (1.482342,), 0.141272, -0.217428, 43.56663), ("t", (1.382223, 0.186960), 0.124326, -0.125308, 49.91281),
     ("t + soi", (1.384328, 0.194486, 0.054518), 0.120733, -0.149989, 53.89875)],
)  # fmt: skip
def test_fremantle(fremantle, mu, values, sigma, xi, total):
    """Coles (2001), section 6.3: 43.6, 49.9, 53.9."""
    fit = covariates.fit_gev("level", fremantle, mu=mu)
    assert fit.coefficients[: len(values)] == pytest.approx(values, abs=6e-7)
    assert np.exp(fit.coefficients[-2]) == pytest.approx(sigma, abs=6e-7)
    assert fit.coefficients[-1] == pytest.approx(xi, abs=6e-7)
    assert fit.loglik == pytest.approx(total, abs=6e-6)


def test_rain_with_a_trend(rain):
    where = np.flatnonzero(rain > 30.0)
    t = where / (len(rain) - 1)
    fit = covariates.fit_gpd(rain[where] - 30.0, sigma=t)
    assert fit.coefficients == pytest.approx([1.804431, 0.343275, 0.197766], abs=6e-7)
    assert fit.loglik == pytest.approx(-484.601646, abs=6e-7)
    test = fit.compare(covariates.fit_gpd(rain[where] - 30.0))
    assert test.df == 1
    assert test.deviance == pytest.approx(2 * (485.093721 - 484.601646), abs=2e-6)


# -- agreement with the laws without covariates ------------------------------------------------------------------------


@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.4])
def test_constant_parameters_are_the_plain_fit(xi):
    y = gpd.rvs(xi, 2.0, size=(300, 3), rng=1)
    plain, fit = evtkit.fit_gpd(y), covariates.fit_gpd(y)
    assert fit.coefficients[1] == pytest.approx(plain.xi, abs=1e-10)
    assert np.exp(fit.coefficients[0]) == pytest.approx(plain.sigma, rel=1e-10)
    assert fit.loglik == pytest.approx(plain.loglik, rel=1e-13)
    assert fit.se[1] == pytest.approx(plain.se_xi, rel=1e-7)
    maxima = gev.rvs(xi, 5.0, 2.0, size=(200, 3), rng=2)
    other, law = gev.fit_gev(maxima), covariates.fit_gev(maxima)
    assert law.coefficients == pytest.approx(np.array([other.mu, np.log(other.sigma), other.xi]), abs=1e-9)


def test_intervals_are_those_of_the_plain_fit(rain):
    tail = evtkit.fit_tail(rain, threshold=30.0)
    fit = covariates.fit_gpd(rain[rain > 30.0] - 30.0)
    own, other = fit.interval("xi: 1"), tail.xi_interval()
    assert float(own.lower) == pytest.approx(float(other.lower), abs=1e-6)
    assert float(own.upper) == pytest.approx(float(other.upper), abs=1e-6)
    rate, m = 152 / len(rain), 36525.0
    level = fit.interval(lambda row: 30.0 + gpd.isf(1 / m / rate, row["xi"], row["sigma"]))
    assert [float(v) for v in (level.lower, level.estimate, level.upper)] == pytest.approx(
        [80.864, 106.343, 185.036], abs=2e-3
    )
    delta = fit.interval("xi: 1", method="delta")
    assert delta.upper - delta.estimate == pytest.approx(1.959964 * 0.101204, abs=1e-5)


def test_the_predictive_law_is_the_posterior_by_brute_force():
    y = gpd.rvs(0.2, 1.0, size=60, rng=3)
    x = np.concatenate([y, -np.ones(540)])
    tail = covariates.fit_tail(x, threshold=0.0)
    shapes, logs = np.linspace(-0.4503, 1.6, 400), np.linspace(-1.5, 1.5, 400)
    xi, log_sigma = np.meshgrid(shapes, logs, indexing="ij")
    with np.errstate(invalid="ignore", divide="ignore"):
        u = 1.0 + xi[..., None] * y / np.exp(log_sigma)[..., None]
        inside = np.all(u > 0.0, axis=-1)
        value = -60 * log_sigma - (1.0 + 1.0 / xi) * np.log(u).sum(-1) - 0.5 * (np.maximum(xi, 0.0) / 0.6) ** 2
    weight = np.where(inside, np.exp(value - np.nanmax(np.where(inside, value, np.nan))), 0.0)
    for level in (3.0, 10.0, 40.0):
        wanted = 0.1 * np.sum(weight * gpd.sf(level, xi, np.exp(log_sigma))) / weight.sum()
        assert tail.sf(level)[0] == pytest.approx(wanted, rel=0.04)
    assert tail.sf(tail.isf(1e-4))[0] == pytest.approx(1e-4, rel=1e-9)
    assert tail.isf(1e-4)[0] > tail.isf(1e-4, law="plug-in")[0]


# -- what changes nothing ----------------------------------------------------------------------------------------------


@given(
    scale=st.sampled_from([1e-6, 0.3, 1e5]),
    shift=st.sampled_from([0.0, -7.0, 1e4]),
    unit=st.sampled_from([1e-7, 3.0, 1e8]),
)
def test_units_of_covariates_and_responses_change_the_coefficients_alone(scale, shift, unit):
    origin = shift * scale
    rng = np.random.default_rng(4)
    t = rng.uniform(size=150)
    y = gpd.rvs(0.1, np.exp(0.5 + t), size=150, rng=rng)
    plain, other = covariates.fit_gpd(y, sigma=t), covariates.fit_gpd(unit * y, sigma=origin + scale * t)
    slope = other.coefficients[1] * scale
    assert slope == pytest.approx(plain.coefficients[1], abs=1e-6)
    assert other.coefficients[0] + other.coefficients[1] * origin - np.log(unit) == pytest.approx(
        plain.coefficients[0], abs=1e-6
    )
    assert other.coefficients[2] == pytest.approx(plain.coefficients[2], abs=1e-8)
    assert other.loglik == pytest.approx(plain.loglik - 150 * np.log(unit), rel=1e-10)


def test_an_observation_of_weight_zero_is_none():
    """Not even one that no law with the others' parameters could have made."""
    rng = np.random.default_rng(21)
    t = rng.uniform(size=80)
    y = gpd.rvs(-0.3, np.exp(t), size=80, rng=rng)
    more = covariates.fit_gpd(np.append(y, 1e3), sigma=np.append(t, 0.5), weights=np.append(np.ones(80), 0.0))
    plain = covariates.fit_gpd(y, sigma=t)
    assert more.coefficients == pytest.approx(plain.coefficients, abs=1e-8)
    assert more.loglik == pytest.approx(plain.loglik, rel=1e-12)


@given(seed=st.integers(0, 40), n=st.sampled_from([15, 40, 150]), family=st.sampled_from(["gpd", "gev"]))
def test_what_is_called_a_maximum_is_one(seed, n, family):
    """The gradient vanishes, no neighbour is higher, and Nelder and Mead from there find nothing better."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    if family == "gpd":
        fit = covariates.fit_gpd(gpd.rvs(0.1, np.exp(0.4 * x[:, 0]), size=n, rng=rng), sigma=x)
    else:
        fit = covariates.fit_gev(gev.rvs(0.1, x[:, 0], 1.0, size=n, rng=rng), mu=x)
    if fit.status != 0:
        return
    problem, theta = fit.problem, fit.theta
    gradient, hessian = problem.derivatives(theta)
    assert np.abs(np.linalg.solve(hessian[0], gradient[0])).max() < 1e-6
    assert np.linalg.eigvalsh(hessian[0]).max() < 0.0
    near = problem.value(theta + rng.normal(scale=1e-3, size=(len(theta), 50)))
    assert near.max() <= problem.value(theta)[0]


def test_weights_are_repetitions_and_channels_are_independent():
    rng = np.random.default_rng(5)
    t, times = rng.uniform(size=(100, 2)), rng.integers(1, 4, size=100)
    y = gev.rvs(0.1, 1.0 + t[:, :1], 0.5, size=(100, 4), rng=rng)
    weighted = covariates.fit_gev(y[:, 0], mu=t, weights=times)
    repeated = covariates.fit_gev(np.repeat(y[:, 0], times), mu=np.repeat(t, times, axis=0))
    assert weighted.coefficients == pytest.approx(repeated.coefficients, abs=1e-8)
    assert weighted.se == pytest.approx(repeated.se, rel=1e-6)
    many = covariates.fit_gev(y, mu=t)
    for c in range(4):
        assert many.coefficients[:, c] == pytest.approx(covariates.fit_gev(y[:, c], mu=t).coefficients, abs=1e-9)


def test_an_offset_is_a_known_part():
    rng = np.random.default_rng(6)
    t = rng.uniform(size=200)
    y = gpd.rvs(0.1, np.exp(1.0 + 2.0 * t), size=200, rng=rng)
    free = covariates.fit_gpd(y, sigma=t)
    known = covariates.fit_gpd(y, offsets={"sigma": free.coefficients[1] * t})
    assert known.coefficients == pytest.approx(free.coefficients[[0, 2]], abs=1e-7)
    assert known.loglik == pytest.approx(free.loglik, abs=1e-8)


def test_priors_pull_the_shape_and_ridge_the_slopes():
    y = gpd.rvs(0.9, 1.0, size=12, rng=8)
    free = covariates.fit_gpd(y).coefficients[1]
    for prior in ("coles-dixon", "martins-stedinger"):
        assert covariates.fit_gpd(y, prior=prior).coefficients[1] < free - 0.1
    x = np.random.default_rng(9).standard_normal((80, 3))
    z = gpd.rvs(0.0, np.exp(0.5 * x[:, 0]), size=80, rng=10)
    slopes = [np.abs(covariates.fit_gpd(z, sigma=x, ridge=r).coefficients[1:4]).sum() for r in (0.0, 10.0, 1e6)]
    assert slopes[0] > slopes[1] > slopes[2]
    assert slopes[2] < 1e-3


# -- the way from data to a tail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("xi", "law"), [(0.2, "normal"), (-0.7, "none")])
def test_without_covariates_it_is_the_tail_without(xi, law):
    """The same law of the next observation; also where the shape has no standard error."""
    rng = np.random.default_rng(22)
    x = np.concatenate([gpd.rvs(xi, 1.0, size=70, rng=rng), -rng.uniform(size=630)])
    own, plain = covariates.fit_tail(x, threshold=0.0), evtkit.fit_tail(x, threshold=0.0, clean=False)
    for level in (0.5, 1.4, 3.0, 12.0):
        assert own.sf(level)[0] == pytest.approx(float(plain.sf(level)), rel=1e-9)
    assert own.isf(1e-4)[0] == pytest.approx(float(plain.isf(1e-4)), rel=1e-9)
    assert np.isnan(own.isf(0.5)[0])
    below = covariates.fit_tail(-x, threshold=0.0, side="lower")
    assert below.sf(-3.0)[0] == pytest.approx(own.sf(3.0)[0], rel=1e-12)


def test_with_a_covariate_that_says_nothing_it_is_nearly_that_tail():
    rng = np.random.default_rng(23)
    x = np.concatenate([gpd.rvs(0.1, 1.0, size=200, rng=rng), -rng.uniform(size=1800)])
    z = np.append(np.tile([-1.0, 1.0], 100), np.zeros(1800))
    own, plain = covariates.fit_tail(x, threshold=0.0, sigma=z), covariates.fit_tail(x, threshold=0.0)
    for level in (1.0, 4.0, 8.0):
        assert own.sf(level, {"sigma": [[0.0]]})[0] == pytest.approx(plain.sf(level)[0], rel=0.15)


def test_what_has_happened_is_possible_where_the_tail_ends_abruptly():
    rng = np.random.default_rng(24)
    t = rng.uniform(size=400)
    x = (1.0 + t) * rng.beta(1.0, 0.6, size=400)  # ξ = −1/.6
    tail = covariates.fit_tail(x, threshold=t, quantile=0.5, sigma=t)
    assert not np.all(np.isfinite(tail.excess.cov))
    assert np.all(tail.sf(x) > 0.0)
    assert np.all(np.isfinite(tail.isf(1e-4)))


def test_quantile_regression_splits_the_data_and_has_the_quantile_of_a_constant():
    rng = np.random.default_rng(11)
    t = rng.uniform(size=400)
    y = 1.0 + 2.0 * t + rng.standard_exponential(400) * (0.5 + t)
    design = np.column_stack([np.ones(400), t])
    beta = quantile_regression(y, design, 0.9)
    gap = y - design @ beta
    assert np.count_nonzero(gap > 1e-9) <= 40 <= np.count_nonzero(gap > -1e-9)
    loss = lambda b: np.sum((y - design @ b) * (0.9 - (y < design @ b)))  # noqa: E731
    assert all(loss(beta) <= loss(beta + step) + 1e-9 for step in rng.normal(scale=0.05, size=(200, 2)))
    alone = quantile_regression(y, np.ones((400, 1)), 0.9)[0]
    assert np.sort(y)[359] <= alone + 1e-12
    assert alone <= np.sort(y)[360] + 1e-12


def test_the_rate_is_the_share_and_follows_its_covariate():
    rng = np.random.default_rng(12)
    t = rng.uniform(size=2000)
    above = (rng.uniform(size=2000) < 0.02 + 0.2 * t).astype(float)
    beta, cov = exceedance_rate(above, np.ones((2000, 1)))
    assert 1.0 / (1.0 + np.exp(-beta[0])) == pytest.approx(above.mean(), rel=1e-6)
    assert np.sqrt(cov[0, 0]) == pytest.approx(1.0 / np.sqrt(2000 * above.mean() * (1 - above.mean())), rel=1e-5)
    slope, _ = exceedance_rate(above, np.column_stack([np.ones(2000), t]))
    assert slope[1] > 1.0


@pytest.mark.slow
def test_seasonal_levels_keep_their_rate_in_every_season():
    rng = np.random.default_rng(13)
    hour = np.arange(24 * 400) % 24
    scale = 2.0 + np.cos(2 * np.pi * hour / 24)
    load = scale * rng.gamma(3.0, size=hour.size)
    day = covariates.harmonics(hour / 24)
    tail = covariates.fit_tail(load[:4800], threshold=day[:4800], sigma=day[:4800])
    level = tail.isf(1e-2, day[4800:])
    beyond = load[4800:] > level
    night = np.isin(hour[4800:], range(8, 16))
    for some in (night, ~night):
        assert 0.5 < beyond[some].mean() / 1e-2 < 1.6
    flat = evtkit.fit_tail(load[:4800], quantile=0.9)
    assert (load[4800:][night] > flat.isf(1e-2)).mean() < 0.2 * 1e-2
    mirrored = covariates.fit_tail(-load[:4800], threshold=day[:4800], sigma=day[:4800], side="lower")
    assert mirrored.isf(1e-2, day[4800:4824]) == pytest.approx(-level[:24], rel=1e-6)


def test_formulas_and_columns_are_one():
    rng = np.random.default_rng(14)
    data = {"t": rng.uniform(size=100), "group": np.repeat(["a", "b"], 50), "y": rng.standard_exponential(100)}
    by_formula = covariates.fit_gpd("y", data, sigma="t + group")
    by_columns = covariates.fit_gpd(data["y"], sigma=np.column_stack([data["t"], data["group"] == "b"]).astype(float))
    assert by_formula.loglik == pytest.approx(by_columns.loglik, abs=1e-10)
    assert by_formula.names == (
        "log sigma: Intercept", "log sigma: t", "log sigma: group[T.b]", "xi: 1",
    )  # fmt: skip
    new = by_formula.isf(0.01, {"t": [0.5], "group": ["b"]})
    assert new == pytest.approx(by_columns.isf(0.01, {"sigma": [[0.5, 1.0]]}), rel=1e-9)


def test_residuals_are_exponential_where_the_model_holds():
    t = np.linspace(0.0, 1.0, 3000)
    fit = covariates.fit_gpd(gpd.rvs(0.2, np.exp(t), size=3000, rng=15), sigma=t)
    left = fit.residuals()
    assert left.mean() == pytest.approx(1.0, abs=0.05)
    assert abs(np.corrcoef(left, t)[0, 1]) < 0.06
    assert left == pytest.approx(-np.log(fit.sf(fit.y[:, 0])), rel=1e-9)
    maxima = covariates.fit_gev(gev.rvs(-0.1, t, 1.0, size=3000, rng=16), mu=t)
    own = maxima.parameters()
    gumbel = maxima.residuals()
    assert np.exp(-np.exp(-gumbel)) == pytest.approx(
        gev.cdf(maxima.y[:, 0], own["xi"], own["mu"], own["sigma"]), abs=1e-12
    )
    assert gumbel.mean() == pytest.approx(0.5772, abs=0.07)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: covariates.fit_gpd([1.0, -2.0, 3.0]), "positive, got -2"),
        (lambda: covariates.fit_gpd([1.0, np.nan, 3.0]), "finite, got NaN"),
        (lambda: covariates.fit_gpd([1.0, 2.0, 3.0], sigma=[1.0, 2.0]), "3 rows"),
        (lambda: covariates.fit_gpd([1.0, 2.0, 3.0], sigma=[1.0, 1.0, 1.0]), "depend on each other"),
        (lambda: covariates.fit_gpd([1.0, 2.0, 3.0], sigma="t"), "data must be given"),
        (lambda: covariates.fit_gpd([1.0, 2.0, 3.0], {"s": [1, 2, 3]}, sigma="t"), "formula of the data"),
        (lambda: covariates.fit_gpd([1.0, 2.0], sigma=[1.0, 2.0]), "at least as many as coefficients, 3, got 2"),
        (lambda: covariates.fit_gpd([1.0, 2.0, 4.0], prior="flat"), "prior must be one of"),
        (lambda: covariates.fit_gpd([1.0, 2.0, 4.0], weights=[1.0, -1.0, 1.0]), "weights must be 0 or more"),
        (lambda: covariates.fit_gev("z", {"y": [1.0]}), r"column of the data \('y'\), got 'z'"),
        (lambda: covariates.fit_tail([1.0, 2.0], threshold=5.0), "exceed the threshold, got none"),
        (lambda: covariates.fit_tail([1.0, 2.0], side="both"), "side must be"),
        (lambda: covariates.harmonics([0.0], 0), "positive integer, got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_plain_columns_are_what_formulaic_makes_of_them():
    from formulaic import model_matrix

    from evtkit.covariates.design import PlainColumns

    rng = np.random.default_rng(25)
    data = {
        "year": np.arange(30),
        "soi": rng.normal(size=30),
        "site": np.repeat(["a", "b"], 15),
        "on": np.arange(30) > 9,
    }
    plain = PlainColumns.of("year + soi", data)
    wanted = model_matrix("year + soi", pd.DataFrame(data))
    np.testing.assert_array_equal(plain.get_model_matrix(data), wanted)
    assert ["Intercept", *plain.names] == list(wanted.columns)
    for other in ("year + site", "on", "year * soi", "0 + year", "year + year", "year + absent", "np.log(soi)"):
        assert PlainColumns.of(other, data) is None
    fit = covariates.fit_gev(rng.normal(size=30), data, mu="year + soi")
    with pytest.raises(ValueError, match="at must have the covariates of mu"):
        fit.parameters({"year": [1.0]})


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(31)
    hour = np.arange(1200) % 24
    site = rng.choice(list("abc"), 1200)
    load = rng.gamma(2.0, 3.0 + np.cos(2.0 * np.pi * hour / 24)) * np.where(site == "b", 2.0, 1.0)
    return pd.DataFrame({"load": load, "hour": hour, "site": site})


def test_a_whole_formula_is_threshold_and_scale_by_its_right_side(table):
    terms = "harmonics(hour / 24) + site"
    rows = {"hour": [0, 12], "site": ["a", "b"]}
    wanted = covariates.fit_tail("load", table, threshold=terms, sigma=terms).isf(1e-3, rows)
    for found in (covariates.fit_tail(f"load ~ {terms}", table), covariates.fit_tail(table, f"load ~ {terms}")):
        np.testing.assert_array_equal(found.isf(1e-3, rows), wanted)
    own = covariates.fit_tail(f"load ~ {terms}", table, sigma="1", quantile=0.8)
    assert own.excess.names == ("log sigma: 1", "xi: 1")
    assert len(own.threshold_design.names) == 5
    level = covariates.fit_gev("load ~ site", table)
    assert level.names[:3] == ("mu: Intercept", "mu: site[T.b]", "mu: site[T.c]")
    assert covariates.fit_gpd(table, "load ~ site").names[0] == "log sigma: Intercept"


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda t: covariates.fit_tail("load ~ hour"), "data must be a data frame"),
     (lambda t: covariates.fit_tail("load ~ hour", "load"), "data must be a data frame"),
     (lambda t: covariates.fit_tail("~ hour", t), "a formula must be such as"),
     (lambda t: covariates.fit_tail("weight ~ hour", t), r"a column of the data \('load', 'hour', 'site'\)"),
     (lambda t: covariates.fit_tail("load ~ hour", t.assign(load=t.load.where(t.hour > 0))), "NaN or inf in 50 of"),
     (lambda t: covariates.fit_gpd(t.load.to_numpy()).return_level(100.0), "needs the rate"),
     (lambda t: covariates.fit_gev("load ~ hour", t).return_level(1.0), "m must be above 1")],
)  # fmt: skip
def test_bad_formulas_and_periods_are_refused(table, call, message):
    with pytest.raises(ValueError, match=message):
        call(table)


def test_a_group_that_the_fit_has_not_seen_has_no_probability(table):
    tail = covariates.fit_tail("load ~ site", table)
    with pytest.raises(ValueError, match="'z'"):
        tail.isf(1e-3, {"site": ["a", "z"]})


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_levels_by_row_have_the_limits_of_one_row(table, side):
    frame = table.assign(load=table.load if side == "upper" else -table.load)
    tail = covariates.fit_tail("load ~ site", frame, side=side)
    rows = {"site": ["b", "a", "b"]}
    found = tail.return_level(500.0, rows, interval=0.9)
    np.testing.assert_allclose(found.estimate, tail.return_level(500.0, rows), rtol=1e-12)
    assert found.lower[0] == found.lower[2]
    assert np.all((found.lower < found.estimate) & (found.estimate < found.upper))
    rate, sign = tail.rate({"site": ["a"]}), 1.0 if side == "upper" else -1.0
    one = tail.excess.interval(lambda own: gpd.isf(1.0 / (500.0 * rate), own["xi"], own["sigma"]), at={"site": ["a"]},
                               level=0.9)  # fmt: skip
    ends = tail.threshold({"site": ["a"]})[0] + sign * np.array([float(one.lower), float(one.upper)])
    np.testing.assert_allclose(np.sort(ends), [found.lower[1], found.upper[1]], rtol=1e-6)
    assert np.isnan(tail.return_level(2.0, rows, interval=0.9).estimate).all()


def test_levels_of_maxima_without_covariates_are_those_of_one_fit():
    y = gev.rvs(0.1, 10.0, 2.0, size=80, rng=3)
    found = covariates.fit_gev(y).return_level(50.0, interval=0.95)
    wanted = gev.fit_gev(y).return_level(50.0, interval=0.95, method="profile")
    for name in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(getattr(found, name), float(getattr(wanted, name)), rtol=1e-4)
    assert found.lower.shape == (80,)


def test_many_columns_are_shown_by_their_formula(table):
    assert "u ~ C(hour)" in repr(covariates.fit_tail("load ~ C(hour)", table))
    day = covariates.harmonics(table.hour[:200] / 24, 10)
    assert "(21 columns)" in repr(covariates.fit_gev(table.load[:200], mu=day))


def test_stepwise_takes_what_matters():
    rng = np.random.default_rng(26)
    data = {name: rng.normal(size=150) for name in "abcd"}
    y = gev.rvs(0.0, 1.0 + data["a"], np.exp(0.5 * data["b"]), size=150, rng=rng)
    fit = covariates.stepwise("gev", y, data, {"mu": "abcd", "sigma": "abcd"}, penalty=np.log(150))
    assert fit.names == ("mu: Intercept", "mu: a", "log sigma: Intercept", "log sigma: b", "xi: 1")
    largest = covariates.stepwise("gev", y, data, {"mu": "a"}, penalty=1e9)
    assert largest.names == ("mu: 1", "log sigma: 1", "xi: 1")
    with pytest.raises(ValueError, match="among must be of"):
        covariates.stepwise("gpd", y, data, {"mu": "a"})


# -- trends and cyclic splines -----------------------------------------------------------------------------------------


def test_a_trend_is_found_at_its_size_and_none_at_the_level():
    year = np.arange(100.0)
    found = covariates.trend_test(gev.rvs(0.1, 5.0 + 0.02 * year, 1.0, size=100, rng=0), year)
    assert found.lower < 0.02 < found.upper
    assert found.p_value < 0.05
    p = [covariates.trend_test(gpd.rvs(0.1, 1.0, size=60, rng=seed), year[:60], family="gpd").p_value
         for seed in range(30)]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) < 0.18
    assert np.mean(np.array(p) < 0.5) > 0.3


def test_the_trend_at_fremantle_is_the_published_one(fremantle):
    found = covariates.trend_test(fremantle["level"], fremantle["t"])
    assert found.deviance == pytest.approx(2 * (49.91281 - 43.56663), abs=2e-5)
    assert found.slope == pytest.approx(0.186960, abs=6e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"family": "gamma"}, "family must be"), ({"family": "gpd", "parameter": "mu"}, "parameter must be")],
)
def test_a_trend_of_something_else_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        covariates.trend_test([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], **options)


@pytest.mark.slow
def test_cyclic_splines_close_the_circle():
    """Midnight is one moment, whether it ends a day or begins one; new rows have the knots of the old ones."""
    hour = np.arange(24.0 * 60) % 24
    load = np.random.default_rng(3).gamma(3.0, 2.0 + np.cos(2 * np.pi * hour / 24))
    day = "cc(hour, df=4, lower_bound=0, upper_bound=24, constraints='center')"
    tail = covariates.fit_tail("load", {"hour": hour, "load": load}, threshold=day, sigma=day)
    levels = tail.isf(1e-3, {"hour": [0.0, 24.0, 12.0]})
    assert levels[0] == pytest.approx(levels[1], rel=1e-9)
    assert levels[0] > 1.5 * levels[2]
    np.testing.assert_allclose(tail.isf(1e-3, {"hour": hour[:5]}), tail.isf(1e-3)[:5], rtol=1e-12)
