"""evtkit.interop.dask and `evtkit fit --by`: how a table is cut never changes a bit of its tails."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("distributed")

import dask  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

from evtkit import fit_tail  # noqa: E402
from evtkit.cli import main as command  # noqa: E402
from evtkit.interop import dask as tables  # noqa: E402

FIELDS = ("threshold", "xi", "sigma", "n", "n_excess", "status", "mean", "std", "loglik")


def long(n=3000):
    rng = np.random.default_rng(0)
    key = np.minimum(rng.geometric(0.5, n) - 1, 9)
    return pd.DataFrame({
        "time": np.arange(n).astype("M8[s]"), "sensor": np.array([f"s{k}" for k in range(10)])[key],
        "value": rng.standard_t(4, n),
    })  # fmt: skip


def assert_by_key(tail, frame, **rule):
    assert tail.names.tolist() == sorted(frame.sensor.unique())
    for i, name in enumerate(tail.names.tolist()):
        mine = frame.value[frame.sensor == name].to_numpy()
        if len(mine) < 40:
            continue
        alone = fit_tail(mine, **rule)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(tail, field)[i], getattr(alone, field), err_msg=f"{name} {field}")


@pytest.mark.parametrize("rule", [{}, {"quantile": 0.9}, {"threshold": 1.5}], ids=str)
@pytest.mark.parametrize("n", [1, 7, 40])
def test_partitions_never_change_a_bit(rule, n):
    wide = pd.DataFrame(np.random.default_rng(1).standard_t(3, (900, 4)), columns=list("abcd"))
    with dask.config.set(scheduler="synchronous"):
        tail = tables.fit_tail(dd.from_pandas(wide, npartitions=n), **rule)
        assert_by_key(tables.fit_tail(dd.from_pandas(long(), npartitions=n), by="sensor", **rule), long(), **rule)
    whole = fit_tail(wide, **rule)
    assert tail.names.tolist() == list("abcd")
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(tail, field), getattr(whole, field), err_msg=field)


def test_workers_that_die_change_nothing(tmp_path):
    frame = long()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), [10, 10, 2500])):
        frame.iloc[part].to_parquet(tmp_path / f"part-{i}.parquet")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        table = dd.read_parquet(tmp_path / "part-*.parquet")
        assert_by_key(tables.fit_tail(table, by="sensor", value="value"), frame)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        assert_by_key(tables.fit_tail(table, by="sensor", value="value", quantile=0.8), frame, quantile=0.8)


def test_missing_values_are_refused_or_dropped():
    frame = long()
    frame.loc[5:80, "value"] = np.nan
    with dask.config.set(scheduler="synchronous"):
        table = dd.from_pandas(frame, npartitions=3)
        assert_by_key(tables.fit_tail(table, by="sensor", missing="drop"), frame.dropna())
        with pytest.raises(ValueError, match="finite, got nan"):
            tables.fit_tail(table, by="sensor")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: tables.fit_tail(long()), "Dask data frame, got DataFrame"),
        (lambda t: tables.fit_tail(t), "columns must be numeric, got 'time', 'sensor'"),
        (lambda t: tables.fit_tail(t, by="probe"), "no column 'probe'"),
        (lambda t: tables.fit_tail(t, by="sensor", value="time"), "column of numbers, got 'time'"),
        (lambda t: tables.fit_tail(t.assign(other=1.0), by="sensor"), "one of 'value', 'other'"),
        (lambda t: tables.fit_tail(t, value="value"), "value goes with by"),
        (lambda t: tables.fit_tail(t, by="sensor", missing="skip"), "missing"),
        (lambda t: tables.fit_tail(t, by=["sensor", "time"]), "names of columns, got"),
        (lambda t: tables.fit_tail(t[t.value > 1e9], by="sensor", value="value"), "hold observations, got none"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(dd.from_pandas(long(), npartitions=2))


def test_partitions_of_other_types_and_without_rows_are_parts_of_the_table():
    frame = long()[["sensor", "value"]]
    frame["value"] = frame.value.astype(np.float32).astype(np.float64)
    pieces = [frame.iloc[:900], frame.iloc[:0], frame.iloc[900:].astype({"value": np.float32, "sensor": "category"})]
    with dask.config.set(scheduler="synchronous"):
        parts = [dask.delayed(piece) for piece in pieces]
        table = dd.from_delayed(parts, meta=frame.iloc[:0], verify_meta=False)
        assert_by_key(tables.fit_tail(table, by="sensor", n_excess=20), frame, n_excess=20)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path):
    frame = long()
    for i, rows in enumerate(np.array_split(np.arange(len(frame)), [3, 1200])):
        frame.iloc[rows].to_parquet(tmp_path / f"part-{i}.parquet")
    frame[["sensor", "value"]].to_csv(tmp_path / "all.csv", index=False)
    return tmp_path, frame


@pytest.mark.parametrize("rule", [[], ["--quantile", "0.9"], ["--threshold", "1.5"]], ids=str)
@pytest.mark.parametrize("rows", [1 << 20, 100])
def test_the_command_fits_every_key_of_many_files(parts, rule, rows, monkeypatch):
    folder, frame = parts
    monkeypatch.setattr("evtkit.cli._parts._ROWS", rows)
    pattern = str(folder / "part-*.parquet")
    done = CliRunner().invoke(command, ["fit", pattern, "--by", "sensor", "-c", "value", "--json", *rule])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["files"], found["rows"], found["by"]) == (3, 3000, "sensor")
    keyword = {rule[0][2:]: float(rule[1])} if rule else {}
    for row in found["columns"]:
        mine = frame.value[frame.sensor == row["column"]].to_numpy()
        if len(mine) >= 40:
            alone = fit_tail(mine, **keyword)
            assert (row["n"], row["xi"], row["sigma"]) == (len(mine), float(alone.xi), float(alone.sigma))
    by_csv = CliRunner().invoke(command, ["fit", str(folder / "all.csv"), "--by", "sensor", "--json", *rule])
    assert json.loads(by_csv.output)["columns"] == found["columns"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "probe"], "no column 'probe'"),
        (["--by", "sensor", "-c", "value", "-c", "sensor"], "one column of values"),
        (["--by", "sensor", "--side", "lower"], "does not go with --side lower"),
        (["--by", "sensor", "--per", "year"], "does not go with --per"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(parts, arguments, message):
    done = CliRunner().invoke(command, ["fit", str(parts[0] / "part-*.parquet"), *arguments])
    assert done.exit_code != 0
    assert message in done.output + done.stderr
    none = CliRunner().invoke(command, ["fit", str(parts[0] / "other-*.parquet"), "--by", "sensor"])
    assert "no file is called" in none.output + none.stderr
