"""The evtkit command: what it prints, saves and refuses, and with which exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from evtkit import fit_tail, gpd
from evtkit.cli import main
from evtkit.cli._report import number, period, probability
from evtkit.intervals import return_level_interval

X = gpd.rvs([0.3, 0.0, -0.3], [1.0, 10.0, 100.0], size=(500, 3), rng=11)
NAMES = ("heavy", "light", "short")


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "data.csv"
    days = pl.Series("day", [f"d{i}" for i in range(1, 501)])
    pl.DataFrame(X, schema=list(NAMES)).with_columns(days).write_csv(path)
    return str(path)


def run(*arguments, code=0, **kwargs):
    result = CliRunner().invoke(main, [str(a) for a in arguments], **kwargs)
    assert result.exit_code == code, result.output
    return result


def document(*arguments, **kwargs):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(run(*arguments, "--json", **kwargs).stdout, parse_constant=refuse)


# -- fit ---------------------------------------------------------------------------------------------------------------


def test_fit_is_fit_tail_of_every_numeric_column(csv):
    got, want = document("fit", csv), fit_tail(X)
    assert (got["command"], got["schema"], got["file"], got["rows"]) == ("fit", 1, csv, 500)
    assert (got["rule"], got["side"], got["method"]) == (None, "upper", "mle")
    assert got["skipped_columns"] == [{"column": "day", "reason": "text, such as 'd1'"}]
    assert [c["column"] for c in got["columns"]] == list(NAMES)
    for name in ("threshold", "xi", "sigma", "se_xi", "se_sigma", "loglik", "n", "n_excess"):
        values = [c[name] for c in got["columns"]]
        assert values == [None if np.isnan(v) else v for v in getattr(want, name).tolist()]
    assert [c["endpoint"] is None for c in got["columns"]] == (want.xi >= 0.0).tolist()  # infinity is null
    assert {c["status"] for c in got["columns"]} == {"OK"}


@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize("rule", [("quantile", 0.8), ("n_excess", 40), ("threshold", 2.0)])
def test_fit_options_are_fit_tails_own(csv, rule, side):
    name, value = rule
    flag = f"--{name.replace('_', '-')}"
    got = document("fit", csv, "-c", "light", flag, value, "--side", side, "--method", "pwm")
    want = fit_tail(X[:, 1], side=side, method="pwm", **{name: value})
    assert got["rule"] == {name: value}
    for field in ("threshold", "xi", "sigma", "mean", "n_excess"):
        assert got["columns"][0][field] == pytest.approx(float(getattr(want, field)), rel=1e-12)


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_return_levels_have_profile_intervals_above_the_threshold(csv, side):
    got = document("fit", csv, "-m", 1000, "-m", 5, "--confidence", 0.9, "--side", side)["columns"]
    tail = fit_tail(X, side=side)
    interval = return_level_interval(tail.excesses, 1000, rate=tail.n_excess / tail.n, level=0.9, method="bartlett")
    for i, column in enumerate(got):
        far, near = column["return_levels"]
        assert (far["period"], far["confidence"]) == (1000.0, 0.9)
        assert far["level"] == pytest.approx(tail.return_level(1000)[i])
        reach = sorted([interval.lower[i], interval.upper[i]], reverse=side == "lower")
        limits = tail.threshold[i] + np.array(reach) * (1.0 if side == "upper" else -1.0)
        np.testing.assert_allclose([far["lower"], far["upper"]], limits)
        assert far["lower"] < far["level"] < far["upper"]
        assert (near["lower"], near["upper"]) == (None, None)  # an observation, below the threshold
        assert near["level"] in X[:, i]


def test_a_table_for_readers(csv):
    out = run("fit", csv, "-m", 1000).stdout
    for text in (
        "heavy",
        "light",
        "short",
        "shape ξ",
        "once in",
        "1,000",
        "left out: day (text, such as 'd1')",
        "95 % interval",
    ):
        assert text in out


def test_each_column_does_with_the_values_it_has(tmp_path):
    x = X.copy()
    x[::7, 0] = np.nan
    x[450:, 2] = np.nan
    path = tmp_path / "gaps.csv"
    pl.DataFrame(x, schema=list(NAMES)).write_csv(path)
    error = run("fit", path, code=2).stderr
    assert "500 rows: 72 in 'heavy', 50 in 'short'" in error
    assert "--missing drop" in error
    got = document("fit", path, "--missing", "drop")["columns"]
    for i, column in enumerate(got):
        want = fit_tail(x[~np.isnan(x[:, i]), i])
        assert (column["n"], column["missing"]) == (int(want.n), 500 - int(want.n))
        assert column["xi"] == float(want.xi)
    scores = document("score", path, "--missing", "drop", "--top", 1500)
    assert (scores["scored"], scores["missing"]) == (1500 - 122, {"heavy": 72, "short": 50})
    assert len(scores["scores"]) == 1500 - 122


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_output_files_hold_the_results(csv, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    want = document("fit", csv, "-m", 100, "-o", path)
    if suffix == ".json":
        assert json.loads(path.read_text()) == want
        return
    frame = pl.read_csv(path) if suffix == ".csv" else pl.read_parquet(path)
    assert frame["xi"].to_list() == [c["xi"] for c in want["columns"]]
    assert frame["upper_100"].to_list() == [c["return_levels"][0]["upper"] for c in want["columns"]]


def test_standard_input_and_parquet_are_the_file(csv, tmp_path):
    pl.read_csv(csv).write_parquet(tmp_path / "data.parquet")
    want = document("fit", csv)["columns"]
    assert document("fit", tmp_path / "data.parquet")["columns"] == want
    assert document("fit", "-", input=Path(csv).read_bytes())["columns"] == want


def test_fit_by_the_year_is_the_tail_of_the_dates(tmp_path):
    days = np.arange("1990-01-01", "1995-01-01", dtype="datetime64[D]")
    x = gpd.rvs(0.1, 1.0, size=days.size, rng=5)
    want = fit_tail(x, time=days)
    frame = pl.DataFrame({"day": days, "x": x})
    told = {}
    for name, column in (
        ("iso", frame["day"].dt.strftime("%Y-%m-%d")), ("zoned", frame["day"].dt.strftime("%Y-%m-%dT00:00:00Z")),
        ("german", frame["day"].dt.strftime("%d.%m.%Y")), ("compact", frame["day"].dt.strftime("%Y%m%d")),
        ("british", frame["day"].dt.strftime("%d/%m/%Y")),
    ):  # fmt: skip
        path = tmp_path / f"{name}.csv"
        frame.with_columns(column.alias("day")).write_csv(path)
        told[name] = document("fit", path, "-c", "x", "--per", "year", "-m", 50, "--time", "day")
    frame.write_parquet(tmp_path / "typed.parquet")
    told["typed"] = document("fit", tmp_path / "typed.parquet", "--per", "year", "-m", 50)
    told["found"] = document("fit", tmp_path / "iso.csv", "--per", "year", "-m", 50)
    level = want.return_level(50, per="year", interval=0.95)
    for name, got in told.items():
        assert got["dates"]["per_year"] == 365.25, name
        (found,) = got["columns"][0]["return_levels"]
        assert (found["period"], got["per"]) == (50.0, "year")
        assert [found[key] for key in ("level", "lower", "upper")] == pytest.approx(
            [float(level.estimate), float(level.lower), float(level.upper)], rel=1e-9
        )
    assert "50 years" in run("fit", tmp_path / "iso.csv", "--per", "year", "-m", 50).stdout
    bare = tmp_path / "bare.csv"
    frame.select("x").write_csv(bare)
    assert "needs dates" in run("fit", bare, "--per", "year", "-m", 50, code=2).stderr
    assert "must be one of year" in run("fit", bare, "--per", "eon", code=2).stderr
    bare.write_text("day,x\n01/02/2001,1\n03/04/2001,2\n05/06/2001,4\n")
    assert "its day or its month" in run("fit", bare, "--time", "day", code=2).stderr


# -- score -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_score_is_the_tails_sf_most_improbable_first(csv, side):
    got = document("score", csv, "--top", 1500, "--label", "day", "--side", side)
    assert got["in_sample"]
    assert got["scored"] == len(got["scores"]) == 1500
    p = fit_tail(X, side=side).sf(X)
    values = [s["p"] for s in got["scores"]]
    assert values == sorted(values)
    for s in got["scores"][::37]:
        row, channel = s["row"] - 1, NAMES.index(s["column"])
        assert s["label"] == f"d{s['row']}"
        assert s["value"] == X[row, channel]
        assert s["p"] == pytest.approx(p[row, channel], rel=1e-12)
        assert s["return_period"] is None if s["p"] == 0.0 else s["return_period"] == pytest.approx(1.0 / s["p"])


def test_last_rows_are_scored_by_the_rows_before_them(csv):
    got = document("score", csv, "--last", 2, "--top", 6)
    want = fit_tail(X[:-2]).sf(X[-2:])
    assert not got["in_sample"]
    assert {s["row"] for s in got["scores"]} == {499, 500}
    np.testing.assert_allclose([s["p"] for s in got["scores"]], np.sort(want, axis=None), rtol=1e-12)


def test_a_saved_tail_scores_other_files(csv, tmp_path):
    run("fit", csv, "--save", tmp_path / "tail.npz", "--quantile", 0.95)
    query = np.array([[100.0, 30.0, 40.0], [0.1, 300.0, 1e6]])
    pl.DataFrame(query[:, ::-1], schema=list(NAMES[::-1])).write_csv(tmp_path / "today.csv")  # by name, not by place
    got = document("score", tmp_path / "today.csv", "--tail", tmp_path / "tail.npz")
    want = fit_tail(X, quantile=0.95).logsf(query)
    for s in got["scores"]:
        log_p = want[s["row"] - 1, NAMES.index(s["column"])]
        assert s["log_p"] == (None if log_p == -np.inf else pytest.approx(log_p, rel=1e-12, abs=1e-12))
    first = got["scores"][0]
    assert first["column"] == "short"  # beyond the endpoint that was estimated, and still not impossible
    assert 0.0 < first["p"] < 1e-6
    some = document("score", tmp_path / "today.csv", "--tail", tmp_path / "tail.npz", "-c", "light")
    assert some["scores"] == [s for s in got["scores"] if s["column"] == "light"]


def test_alarm_is_exit_code_1_and_says_how_many_chance_brings(csv):
    p = np.sort(fit_tail(X).sf(X), axis=None)
    limit = float(0.5 * (p[2] + p[3]))
    got = document("score", csv, "--alarm", limit, code=1)
    assert got["alarm"] == {"p": limit, "alarms": 3, "expected_by_chance": pytest.approx(1500 * limit)}
    assert "alarms: 3 values" in run("score", csv, "--alarm", limit, code=1).stdout
    assert document("score", csv, "--alarm", 0.5 * p[p > 0.0][0], code=int(p[0] == 0.0))["alarm"]["alarms"] == 0


def test_a_column_without_a_tail_never_looks_improbable(tmp_path):
    path = tmp_path / "dead.csv"
    pl.DataFrame({"live": X[:, 0], "dead": np.zeros(500)}).write_csv(path)
    assert [c["status"] for c in document("fit", path)["columns"]] == ["OK", "EMPTY"]
    got = document("score", path, "--top", 1000, "--alarm", 1e-9)
    assert min(s["p"] for s in got["scores"] if s["column"] == "dead") >= 1 / 501
    assert (got["scored"], got["unfitted"]) == (1000, 500)
    assert "500 values scored by rank" in run("score", path).stdout


def test_all_scores_go_to_a_file_row_by_row(csv, tmp_path):
    run("score", csv, "--top", 1, "-o", tmp_path / "scores.parquet")
    frame = pl.read_parquet(tmp_path / "scores.parquet")
    assert frame["value"].to_list() == X.ravel().tolist()
    np.testing.assert_allclose(frame["p"].to_numpy(), fit_tail(X).sf(X).ravel(), rtol=1e-12)


# -- plot --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["diagnostics", "probability", "quantile", "density", "return-level", "threshold"])
def test_plot_writes_a_picture_a_column(csv, tmp_path, kind):
    out = run("plot", csv, "--kind", kind, "-o", tmp_path / "p.png", "--dpi", 40, "-c", "heavy", "-c", "light").stdout
    for column in ("heavy", "light"):
        path = tmp_path / f"p-{column}.png"
        assert str(path) in out
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", ["svg", "pdf", "jpg"])
def test_plot_writes_other_formats_and_one_column_keeps_the_name(csv, tmp_path, suffix):
    run("plot", csv, "-k", "density", "-c", "short", "--side", "lower", "-o", tmp_path / f"p.{suffix}", "--dpi", 40)
    assert [p.name for p in tmp_path.glob("p*")] == [f"p.{suffix}"]


def test_plot_ranks_the_last_row(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("plot", csv, "--kind", "ranking", "--dpi", 40)
    assert (tmp_path / "data-ranking.png").exists()


def test_plot_draws_a_column_as_a_stream(tmp_path):
    path, out = tmp_path / "x.csv", tmp_path / "p.png"
    days = pl.Series("day", np.datetime64("2020-01-01") + np.arange(500))
    pl.DataFrame(X, schema=list(NAMES)).with_columns(days).write_csv(path)
    options = ("--calibrate", 300, "--risk", "1e-2", "--side", "both", "--depth", 20, "--dpi", 40, "-o", out)
    run("plot", path, "-k", "stream", "-c", "light", "--label", "day", *options)
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-k", "stream"), "rows must be more than the 1000 that calibrate"),
        (("-k", "stream", "--threshold", "1"), "--threshold is not for --kind stream"),
        (("--risk", "1e-3"), "--risk is not for --kind diagnostics"),
        (("--side", "both"), "--side both is not for --kind diagnostics"),
        (("-k", "stream", "--calibrate", "300", "--label", "day"), "must be a column of dates"),
    ],
)
def test_plot_of_a_stream_refuses(csv, options, message):
    assert message in run("plot", csv, *options, code=2).stderr


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "score", "plot"])
@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, (), "no such file"),
        ("", (), "is empty"),
        ("x\n", (), "header but no rows"),
        ("x\nabc\n", (), "no numeric column"),
        ("x\n1\n2\n", ("-c", "y"), "no column 'y'"),
        ("x\n1\nabc\n", ("-c", "x"), "'abc' in row 2"),
        ("x\n1\nNaN\n3\n", (), "1 in 'x'; leave them out with --missing drop"),
        ("x,y\n1,\n2,\n", ("-c", "y", "--missing", "drop"), "column 'y' has no values"),
        ("x\n1\ninf\n", ("-c", "x"), "holds inf in row 2"),
        ("x\n1\n", (), "needs two rows at least"),
        ("x\n1\n2\n", ("--n-excess", "5"), "got 5"),
        ("x\n1\n2\n", ("--threshold", "9"), "leaves no excess"),
        ("x\n1\n2\n", ("--threshold", "nan"), "finite"),
        ("x\n1\n2\n", ("--quantile", "0.5", "--threshold", "1"), "exclude each other"),
        ("x\n1\n2\n", ("--quantile", "1"), "--quantile"),
        ("x\n1\n2\n", ("--method", "guess"), "--method"),
        ("x\n1\n2\n", ("--output", "nowhere.txt"), "must end in"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(command, text, options, message, tmp_path):
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_text(text)
    result = run(command, path, *options, code=2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--last", "500"), "--last 500 wants more than 500"),
        (("--alarm", "2"), "--alarm"),
        (("--tail", "absent.npz"), "absent.npz"),
        (("--tail", "{csv}"), "not an evtkit file"),
        (("--tail", "{tail}", "--quantile", "0.9", "--side", "lower"), "--quantile and --side would fit anew"),
        (("--tail", "{tail}", "-c", "other"), "no channel 'other'; there is 'heavy'"),
        (("--tail", "{tail}", "--last", "501"), "--last 501 wants at least 501"),
        (("--label", "other"), "no column 'other'"),
    ],
)
def test_score_refuses(csv, tmp_path, arguments, message):
    run("fit", csv, "--save", tmp_path / "tail.npz")
    filled = [a.format(csv=csv, tail=tmp_path / "tail.npz") for a in arguments]
    assert message in run("score", csv, *filled, code=2).stderr


def test_a_tail_wants_its_columns(csv, tmp_path):
    run("fit", csv, "--save", tmp_path / "tail.npz")
    pl.DataFrame({"heavy": [1.0], "light": [1.0]}).write_csv(tmp_path / "less.csv")
    assert "no column 'short'" in run("score", tmp_path / "less.csv", "--tail", tmp_path / "tail.npz", code=2).stderr


def test_a_folder_that_is_not_there_cannot_be_written_to(csv, tmp_path):
    for option in ("--output", "--save"):
        assert "not a folder" in run("fit", csv, option, tmp_path / "no" / "a.csv", code=2).stderr


# -- numbers for readers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, "–"), (np.inf, "∞"), (-np.inf, "−∞"), (0.0, "0"), (0.000123456, "0.0001235"), (1234.4, "1,234"),
     (1234567.0, "1,234,567"), (1.23456e12, "1.235e+12"), (-5.0, "-5")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("log_p", "p", "once_in"),
    [(0.0, "1", "1"), (np.log(1e-3), "0.001", "1,000"), (np.log(2e-9), "2e-09", "5e08"), (-np.inf, "0", "never"),
     (-1000.0 * np.log(10.0), "1.00e-1000", "1e1000")],
)  # fmt: skip
def test_probabilities_and_periods_however_small(log_p, p, once_in):
    assert (probability(log_p), period(log_p)) == (p, once_in)


def test_a_long_table_is_cut_and_says_so(tmp_path):
    path = tmp_path / "wide.csv"
    pl.DataFrame(gpd.rvs(0.1, 1.0, size=(50, 70), rng=1), schema=[f"c{i}" for i in range(70)]).write_csv(path)
    out = run("fit", path).stdout
    assert "c59" in out
    assert "c60" not in out
    assert "10 more" in out


# -- the command itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), ("fit",), ("score",), ("watch",), ("plot",), ("demo",)])
def test_help_has_examples(command):
    text = run(*command, "--help").stdout
    assert "evtkit " + " ".join(command) in text.split("Example", 1)[1]
    assert "None" not in text


def test_runs_as_a_program_and_starts_light(csv):
    code = """
import sys
from evtkit.cli import main
from evtkit.cli._report import number, period, probability
heavy = {"numpy", "scipy", "numba", "polars", "matplotlib", "rich"} & set(sys.modules)
assert not heavy, heavy
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", csv, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["columns"][0]["column"] == "heavy"
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", "absent.csv"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "Error: no such file: absent.csv\n")
