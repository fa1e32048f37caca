"""evtkit.interop.xarray: blocks, workers, their number and their deaths never change a bit; labels are kept."""

from __future__ import annotations

import os
import signal
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

xr = pytest.importorskip("xarray")
dask = pytest.importorskip("dask")
pytest.importorskip("distributed")

from distributed import Client, LocalCluster  # noqa: E402

import evtkit  # noqa: E402
from evtkit import FitStatus, Tail  # noqa: E402
from evtkit.interop import xarray as grids  # noqa: E402
from evtkit.tail.labelled import VARIABLES  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = np.arange("1990-01-01", "1996-01-01", dtype="M8[D]").astype("M8[ns]")


def grid(dtype=np.float32) -> xr.DataArray:
    """Cells of the ocean, with gaps, with one observation, rounded, constant and heavy ones."""
    rng = np.random.default_rng(2)
    x = rng.weibull(0.8, (len(DAYS), 6, 7)).astype(dtype)
    x[:, 0, :4] = np.nan
    x[5:900, 3, 3] = np.nan
    x[1:, 2, 2] = np.nan
    x[:, 5, 5] = np.round(x[:, 5, 5], 1)
    x[:, 5, 6] = 3.0
    x[:, 4, 0] = rng.standard_cauchy(len(DAYS))
    coords = {"time": DAYS, "lat": np.arange(6.0), "area": (("lat", "lon"), np.ones((6, 7)))}
    attrs = {"units": "mm d-1", "institution": "a house", "standard_name": "precipitation_flux"}
    return xr.DataArray(x, dims=("time", "lat", "lon"), coords=coords, attrs=attrs, name="pr")


def assert_equal(ds, tail) -> None:
    for name in VARIABLES:
        got, wanted = ds[name].values, getattr(tail, name)
        assert got.dtype == wanted.dtype, name
        got = got.reshape(*wanted.shape[:1], -1) if wanted.ndim > 1 else got.reshape(wanted.shape)
        if wanted.ndim > 1 and (more := got.shape[1] - wanted.shape[1]) > 0:  # a lazy grid has room for ties
            assert np.all(np.isnan(got[:, :more]))
            got = got[:, more:]
        np.testing.assert_array_equal(got, wanted, err_msg=name)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": None}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as one,
    ):
        yield one


RULES = [{}, {"quantile": 0.95}, {"n_excess": 30}, {"quantile": 0.95, "side": "lower"}]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(
    "chunks", [{"lat": 1, "lon": 1}, {"lat": (1, 4, 1), "lon": 3}, {"lat": -1, "lon": -1}], ids=str
)
def test_blocks_never_change_a_bit(rule, chunks):
    da = grid()
    whole = evtkit.fit_tail(da.values.reshape(len(DAYS), -1), missing="drop", keep_sample=False, **rule)
    with dask.config.set(scheduler="synchronous"):
        lazy = grids.fit_tail(da.chunk({"time": -1, **chunks}), **rule)
        assert all(lazy[name].chunks for name in VARIABLES)
        assert_equal(lazy.compute(), whole)
    assert_equal(grids.fit_tail(da.transpose("lat", "time", "lon"), **rule), whole)


def test_methods_are_the_functions():
    da = grid().isel(lat=slice(1, 3))
    fits = da.evtkit.fit_tail(quantile=0.95)
    xr.testing.assert_identical(fits, grids.fit_tail(da, quantile=0.95))
    xr.testing.assert_identical(fits.evtkit.return_level(10, per="year"), grids.return_level(fits, 10, per="year"))
    xr.testing.assert_identical(fits.evtkit.score(da, law="plug-in"), grids.score(fits, da, law="plug-in"))
    xr.testing.assert_identical(fits.evtkit.goodness_of_fit(), grids.goodness_of_fit(fits))
    assert np.array_equal(fits.evtkit.to_tail().xi, grids.to_tail(fits).xi, equal_nan=True)


def test_blocks_are_cleaned_as_the_whole_is():
    da = grid().isel(lat=slice(2, 4))
    da[100, 1, 1] = 1e6
    whole = evtkit.fit_tail(da.values.reshape(len(DAYS), -1), missing="drop", keep_sample=False, clean=True)
    with dask.config.set(scheduler="synchronous"):
        lazy = grids.fit_tail(da.chunk({"time": -1, "lat": 1}), clean=True).compute()
    assert lazy.left_out.values[1, 1] == 1
    assert_equal(lazy, whole)


def test_thresholds_by_cell_and_cells_that_never_exceed_them():
    da = grid(np.float64)
    levels = da.fillna(0.0).quantile(0.95, "time").drop_vars("quantile")
    levels[1, 1], levels[1, 2] = 1e9, 1e8
    whole = evtkit.fit_tail(
        da.values.reshape(len(DAYS), -1)[:, 4:], threshold=levels.values.reshape(-1)[4:], missing="drop",
        keep_sample=False,
    )  # fmt: skip
    with dask.config.set(scheduler="synchronous"):
        lazy = grids.fit_tail(da.chunk({"time": -1, "lat": 1, "lon": 1}), threshold=levels, keep=300).compute()
    eager = grids.fit_tail(da, threshold=levels)
    for name in set(VARIABLES) - {"largest"}:
        for ds in (lazy, eager):
            np.testing.assert_array_equal(ds[name].values.reshape(-1)[4:], getattr(whole, name), err_msg=name)
    assert np.all(lazy.status.values[0, :4] == FitStatus.EMPTY)
    assert lazy.status.values[1, 1] == FitStatus.EMPTY
    with pytest.raises(ValueError, match="keep must be at least"), dask.config.set(scheduler="synchronous"):
        grids.fit_tail(da.chunk({"time": -1}), threshold=levels, keep=20).compute()


def test_labels_units_and_attributes_are_kept():
    ds = grids.fit_tail(grid())
    assert set(ds.coords) == {"lat", "area"}
    assert ds.attrs["institution"] == "a house"
    assert "standard_name" not in ds.attrs
    assert ds.sigma.attrs["units"] == "mm d-1"
    assert ds.xi.attrs["units"] == "1"
    assert len(ds.status.attrs["flag_values"]) == len(ds.status.attrs["flag_meanings"].split())
    assert ds.attrs["observations_per_year"] == 365.25


def test_what_follows_a_fit_equals_the_tail_of_each_cell(tmp_path):
    da = grid()
    with dask.config.set(scheduler="synchronous"):
        lazy = grids.fit_tail(da.chunk({"time": -1, "lat": 2, "lon": 3}))
        tail = grids.to_tail(lazy)
        years = grids.return_level(lazy, [10, 100], per="year")
        limits = grids.return_level(lazy, 100, per="year", interval=0.9).compute()
        p = grids.score(lazy, da.chunk({"time": 700, "lat": 4}))
        assert p.chunks[0][0] == 700
        p, test = p.compute(), grids.goodness_of_fit(lazy).compute()
    fitted = tail.is_fitted
    np.testing.assert_array_equal(years.values.reshape(2, -1), tail.return_level([3652.5, 36525.0]))
    np.testing.assert_array_equal(limits.upper.values.ravel(), tail.return_level(36525.0, interval=0.9).upper)
    x, got = da.values.reshape(len(DAYS), -1)[:, fitted], p.values.reshape(len(DAYS), -1)[:, fitted]
    wanted = tail[np.flatnonzero(fitted).tolist()].sf(np.nan_to_num(x))
    assert np.array_equal(got, np.where(np.isnan(x), np.nan, wanted), equal_nan=True)
    assert np.isnan(p.values[:, 0, :4]).all()
    np.testing.assert_array_equal(test.a2.values.ravel(), tail.goodness_of_fit().a2)


def test_fits_without_excesses_have_plug_in_levels_and_probabilities():
    da = grid()
    whole = grids.fit_tail(da)
    with dask.config.set(scheduler="synchronous"):
        bare = grids.fit_tail(da.chunk({"time": -1, "lat": 3}), keep=False)
        levels = grids.return_level(bare, 1e5).compute()
    assert "largest" not in bare
    fitted, high = whole.n_excess > 0, xr.full_like(da[:2], 1e3)
    np.testing.assert_array_equal(levels, grids.return_level(whole, 1e5).where(fitted))
    p = [grids.score(ds, high, law="plug-in").where(fitted) for ds in (bare.compute(), whole)]
    np.testing.assert_array_equal(*p)


def test_a_tail_becomes_a_dataset_and_comes_back():
    import pandas as pd

    frame = pd.DataFrame(np.random.default_rng(0).exponential(size=(500, 2)), columns=["a", "b"])
    tail = evtkit.fit_tail(frame, keep_sample=False)
    ds = tail.to_dataset("station", units="m")
    assert ds.xi.dims == ("station",)
    assert ds.sigma.attrs["units"] == "m"
    back = grids.to_tail(ds)
    for name in (*VARIABLES, "names", "side"):
        np.testing.assert_array_equal(getattr(back, name), getattr(tail, name), err_msg=name)
    assert tail[0].to_dataset().xi.dims == ()
    assert isinstance(grids.to_tail(tail[0].to_dataset()), Tail)
    assert grids.to_tail(tail[0].to_dataset()).xi == tail.xi[0]


def test_chunks_in_time_are_announced_refused_or_joined_as_told():
    cut = grid().chunk({"time": 500, "lat": 3, "lon": -1})
    with pytest.warns(UserWarning, match="'time' is in 5 chunks and a fit needs one: rechunked to blocks of 2191 time"):
        announced = grids.fit_tail(cut)
    with warnings.catch_warnings():
        silent = grids.fit_tail(cut, rechunk=True)
    with pytest.raises(ValueError, match="must be in one chunk for a fit, got 5"):
        grids.fit_tail(cut, rechunk=False)
    with dask.config.set(scheduler="synchronous"):
        for ds in (announced, silent):
            xr.testing.assert_identical(ds.compute(), grids.fit_tail(grid()))


def test_one_block_is_one_task_with_one_thread(monkeypatch):
    seen = []
    plain = evtkit.peaks.fit_tail

    def watched(x, **options):
        seen.append(options["n_threads"])
        return plain(x, **options)

    monkeypatch.setattr(evtkit.peaks, "fit_tail", watched)
    with dask.config.set(scheduler="synchronous"):
        grids.fit_tail(grid().chunk({"time": -1, "lat": 3})).compute()
    assert seen == [1, 1]


def test_processes_equal_one_and_a_killed_worker_changes_nothing(client):
    da = grid()
    lazy = grids.fit_tail(da.chunk({"time": -1, "lat": 2, "lon": 4}))
    wanted = grids.fit_tail(da)
    xr.testing.assert_identical(lazy.compute(), wanted)
    going_on = client.persist(lazy)
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    xr.testing.assert_identical(going_on.compute(), wanted)
    xr.testing.assert_identical(grids.score(lazy, da).compute(), grids.score(wanted, da))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda da: grids.fit_tail(da.values), "DataArray, got ndarray"),
        (
            lambda da: grids.fit_tail(da, "year"),
            "dim must be a dimension of da, one of 'time', 'lat', 'lon', got 'year'",
        ),
        (lambda da: grids.fit_tail(da, missing="skip"), "missing"),
        (lambda da: grids.fit_tail(da, missing="raise"), "got 2 that lack some"),
        (lambda da: grids.fit_tail(da, quantile=0.9, threshold=1.0), "give one of"),
        (lambda da: grids.fit_tail(da, threshold=da), "dimensions of the cells only, got 'time'"),
        (lambda da: grids.fit_tail(da.chunk(), threshold=1.0), "keep must be a number"),
        (lambda da: grids.return_level(da, 10), "the Dataset that fit_tail returns, got DataArray"),
        (lambda da: grids.return_level(grids.fit_tail(da), 10, per="decade"), "per must be"),
        (lambda da: grids.return_level(grids.fit_tail(da.drop_vars("time")), 10, per="year"), "needs dates"),
        (lambda da: grids.score(grids.fit_tail(da, keep=False), da), "needs the excesses"),
        (lambda da: grids.score(grids.fit_tail(da), da.isel(lat=0)), "dimensions of the cells"),
        (lambda da: grids.score(grids.fit_tail(da), da.isel(lat=slice(1, None))), "exact|align"),
        (lambda da: grids.fit_tail(da.isel(time=0, lat=0, lon=0)), "da is a single value"),
        (lambda da: grids.fit_tail(da, ["time", "lat"]), "dim must be a dimension"),
        (lambda da: grids.fit_tail((da > 1.0).chunk()), "real numbers, got an array of dtype bool"),
        (lambda da: grids.fit_tail((da + 1j).chunk()), "real numbers, got an array of dtype complex"),
        (lambda da: grids.fit_tail(da.astype(str)), "real numbers, got an array of dtype <U"),
        (lambda da: grids.fit_tail(da.time), "real numbers, got an array of dtype datetime64"),
        (lambda da: grids.fit_tail(da.chunk(), method="best"), "method must be one of"),
        (lambda da: grids.fit_tail(da.chunk(), resolution=-1.0), "resolution must be a step"),
        (lambda da: grids.fit_tail(da.chunk(), keep=-1), "keep"),
        (lambda da: grids.fit_tail(da.chunk(), keep=2.5), "keep"),
        (
            lambda da: grids.fit_tail(da.chunk(), threshold=np.ones((6, 7))),
            "threshold must be a finite number, or a Data",
        ),
        (lambda da: grids.fit_tail(da.chunk(), threshold=np.nan, keep=9), "threshold must be a finite number"),
        (lambda da: grids.fit_tail(da.rename(lat="rank")), "no dimension or coordinate 'rank'"),
        (lambda da: grids.fit_tail(da.assign_coords(xi=("lon", np.arange(7)))), "no dimension or coordinate 'xi'"),
        (lambda da: grids.return_level(grids.fit_tail(da.rename(lat="period")), 10), "rename that dimension"),
        (lambda da: grids.fit_tail(da.assign_attrs(scale_factor=0.1, _FillValue=-999)), "scale_factor, _FillValue"),
        (
            lambda da: grids.fit_tail(da.assign_attrs(missing_value=[1e20])),
            "decoded values, got the attributes missing",
        ),
        (lambda da: grids.score(grids.fit_tail(da), da.assign_attrs(add_offset=273.15)), "add_offset; open it with"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(grid())


def test_calendars_of_climate_models():
    cftime = pytest.importorskip("cftime")
    time = xr.date_range("2000-01-01", periods=1825, calendar="noleap", use_cftime=True)
    assert isinstance(time[0], cftime.DatetimeNoLeap)
    x = xr.DataArray(np.random.default_rng(0).exponential(size=(1825, 2)), dims=("time", "cell"), coords={"time": time})
    ds = grids.fit_tail(x)
    assert ds.attrs["observations_per_year"] == 365.0
    assert np.array_equal(grids.return_level(ds, 10, per="year"), grids.return_level(ds, 3650))


def test_the_order_of_dates_and_those_that_are_missing_do_not_matter():
    cftime = pytest.importorskip("cftime")
    time = xr.date_range("2000-01-01", periods=400, calendar="noleap", use_cftime=True)
    x = xr.DataArray(np.random.default_rng(0).exponential(size=400), dims="time", coords={"time": time})
    rates = [grids.fit_tail(one).attrs["observations_per_year"] for one in (x, x[::-1])]
    assert rates == [365.0, 365.0]
    alike = x.assign_coords(time=[cftime.DatetimeNoLeap(2000, 1, 1)] * 400)
    assert "observations_per_year" not in grids.fit_tail(alike).attrs
    days = DAYS[:400].copy()
    days[7] = "NaT"
    assert 364.0 < grids.fit_tail(x.assign_coords(time=days)).attrs["observations_per_year"] < 366.0


@pytest.mark.parametrize("lazy", [False, True])
def test_a_single_cell_has_all_answers(lazy):
    da = grid().isel(lat=3, lon=1)
    ds = grids.fit_tail(da.chunk() if lazy else da)
    tail = evtkit.fit_tail(da.values)
    levels = grids.return_level(ds, 10, per="year", interval=0.9).compute()
    wanted = tail.return_level(10.0 * ds.attrs["observations_per_year"], interval=0.9)
    assert float(levels.upper) == float(wanted.upper)
    assert float(grids.goodness_of_fit(ds).compute().p_a2) == float(tail.goodness_of_fit().p_a2)
    assert grids.score(ds, da[:5]).compute().shape == (5,)


@pytest.mark.parametrize("dtype", ["f2", ">f4", ">f8", "i2", "u1", "i8"])
def test_types_of_numbers_are_those_of_one_array(dtype):
    da = (grid().isel(lat=slice(3, 5)).fillna(0.0) * 10.0).clip(0.0, 250.0).astype(dtype)
    now, later = grids.fit_tail(da), grids.fit_tail(da.chunk({"lon": 2}))
    assert later.largest.dtype == now.largest.dtype == (np.float32 if dtype in ("f2", ">f4") else np.float64)
    assert later.compute().largest.dtype == now.largest.dtype
    assert np.array_equal(later.xi, now.xi, equal_nan=True)
    assert np.array_equal(now.xi.values.ravel(), evtkit.fit_tail(da.values.reshape(len(da), -1)).xi, equal_nan=True)


def test_packed_files_are_read_as_what_they_hold(tmp_path):
    pytest.importorskip("zarr")
    da = grid().isel(lat=slice(0, 4), lon=slice(0, 3)).chunk({"time": -1})
    packed = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -9999}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        da.to_dataset().to_zarr(tmp_path / "x.zarr", encoding={"pr": packed})
        read, raw = (xr.open_zarr(tmp_path / "x.zarr", mask_and_scale=yes).pr for yes in (True, False))
    ds = grids.fit_tail(read).compute()
    assert ds.status.values[0].tolist() == [4, 4, 4]
    assert abs(float(ds.threshold[3, 0]) - float(grids.fit_tail(da).threshold[3, 0])) < 0.02
    with pytest.raises(ValueError, match="mask_and_scale=True"):
        grids.fit_tail(raw)


def test_units_of_pint_pass_through():
    pint = pytest.importorskip("pint")
    da = grid().isel(lat=slice(3, 5))
    ds = grids.fit_tail(da.copy(data=pint.UnitRegistry().Quantity(da.values, "mm/day")))
    assert str(ds.sigma.data.units) == "millimeter / day"
    assert np.array_equal(ds.sigma.data.magnitude, grids.fit_tail(da).sigma)
    assert ds.xi.attrs["units"] == "1"


@pytest.mark.parametrize("chunks", [None, {"cell": 2}])
def test_counts_and_gross_outliers_are_as_in_one_array(chunks):
    rng = np.random.default_rng(6)
    x = np.column_stack([rng.poisson(0.5, (2000, 2)), rng.standard_exponential((2000, 2))])
    x[:20, 3] = 60.0
    cells = xr.DataArray(x, dims=("time", "cell"))
    found, wanted = grids.fit_tail(cells if chunks is None else cells.chunk(chunks)), evtkit.fit_tail(x)
    assert found["left_out"].values.tolist() == [0, 0, 0, 20]
    for name in ("n", "n_excess", "threshold", "xi", "sigma"):
        np.testing.assert_array_equal(found[name].values, getattr(wanted, name))
