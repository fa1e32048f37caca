"""Tables: CSV and Parquet say the same, and bad files say what is wrong."""

import gzip
import io
import re
import sys

import numpy as np
import polars as pl
import pytest

from evtkit._common.tables import Dialect, read_table

CSV = "day,north,south,flag\nMon,1.5,2,true\nTue,,3,false\nWed,NaN,NA,true\n"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "levels.csv"
    path.write_text(CSV)
    return path


def test_reads_every_numeric_column_and_names_the_others(csv):
    table = read_table(csv)
    assert table.columns == ("north", "south")
    assert table.skipped == (("day", "text, such as 'Mon'"), ("flag", "text, such as 'true'"))
    assert table.labels is None
    np.testing.assert_array_equal(table.values, [[1.5, 2.0], [np.nan, 3.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(table.missing, [2, 1])


def test_reads_the_columns_asked_for_in_their_order(csv):
    table = read_table(csv, ["south", "north"], label="day")
    assert table.columns == ("south", "north")
    assert table.labels == ("Mon", "Tue", "Wed")
    assert table.skipped == ()


def test_parquet_is_csv(csv, tmp_path):
    frame = pl.read_csv(csv, null_values=["NA"], schema_overrides={"flag": pl.String})
    frame.write_parquet(tmp_path / "levels.parquet")
    one, other = read_table(csv, label="day"), read_table(tmp_path / "levels.parquet", label="day")
    np.testing.assert_array_equal(one.values, other.values)
    assert (one.columns, one.labels, one.skipped) == (other.columns, other.labels, other.skipped)


def test_reads_tabs_other_separators_compressed_files_and_standard_input(tmp_path, monkeypatch):
    for name, separator in (("a.tsv", None), ("b.csv", "\t"), ("c.csv", ";")):
        (tmp_path / name).write_text("x,y\n1,2\n".replace(",", separator or "\t"))
        assert read_table(tmp_path / name, dialect=Dialect(separator)).values.tolist() == [[1.0, 2.0]]
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"x\n1\n"))
    assert read_table(tmp_path / "d.csv.gz").values.tolist() == [[1.0]]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n7\n")))
    assert read_table("-").values.tolist() == [[7.0]]


def test_a_number_late_in_the_file_decides_the_column(tmp_path):
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 5000 + "2.5\n")
    assert read_table(tmp_path / "a.csv").values[-1] == 2.5


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("x,y\n", {}, "header but no rows"),
        ("x\nabc\n", {}, "no numeric column in .*'x'"),
        ("x;y\n1;2\n", {}, "separator"),
        ("x,y\n1,2\n", {"columns": ["z"]}, "no column 'z' in .*'x', 'y'"),
        ("x,y\n1,2\n", {"label": "z"}, "no column 'z'"),
        ("x,y\n1,2\n", {"columns": ["x", "x"]}, "asked for twice"),
        ("x\n1\nabc\n", {"columns": ["x"]}, "'abc' in row 2, wanted a number"),
        ("x\ntrue\n", {"columns": ["x"]}, "'true' in row 1, wanted a number"),
        ("x\n1\ninf\n", {"columns": ["x"]}, "holds inf in row 2, wanted finite"),
        ("x\n1,2,3\n", {}, r"row 1 .*line 2.* has 3 cells, the header has 1"),
    ],
)
def test_bad_tables_say_what_was_got_and_wanted(text, options, message, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "bad.csv", **options)


def test_files_that_cannot_be_read_say_so(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path)
    (tmp_path / "bad.parquet").write_text("x\n1\n")
    with pytest.raises(ValueError, match=re.escape("bad.parquet")):
        read_table(tmp_path / "bad.parquet")
