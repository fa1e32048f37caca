"""Tables in every dialect: read back as they were written, or refused; never silently different."""

import csv
import io
import re
import sys
from dataclasses import replace

import hypothesis
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from evtkit._common.tables import Dialect, read_table
from evtkit.cli import main

WORDS = st.sampled_from(
    ["Mo", "Höhe über NN", "a,b", "a;b", 'say "x"', "two words", "#1", "x|y", "2024-01-31", "12:30"]
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9999, 9999).map(float)


@st.composite
def tables(draw):
    """Columns by name: numbers with gaps, or words."""
    rows = draw(st.integers(1, 5))
    kinds = draw(st.lists(st.sampled_from(["numbers", "gaps", "words"]), min_size=1, max_size=4))
    if set(kinds) == {"words"}:
        kinds.append("numbers")
    columns = {}
    for i, kind in enumerate(kinds):
        cell = {"numbers": NUMBERS, "gaps": NUMBERS | st.none(), "words": WORDS}[kind]
        cells = draw(st.lists(cell, min_size=rows, max_size=rows))
        columns[f"{'xyzwv'[i]}{kind}"] = cells if any(c is not None for c in cells) else [1.0] * rows
    return columns


@st.composite
def dialects(draw):
    """How to write it: the options to read it with, and what needs none."""
    decimal = draw(st.sampled_from(".,"))
    separator = draw(st.sampled_from([s for s in ",;\t|" if s != decimal]))
    options = Dialect(
        separator,
        decimal,
        draw(st.sampled_from([None, "latin-1", "utf-16-le"])),
        draw(st.sampled_from([None, "#", "%%"])),
        draw(st.booleans()),
        draw(st.sampled_from([(), ("n/a",), ("-99999",)])),
    )
    free = {
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "end": draw(st.sampled_from(["\n", "\r\n"])),
        "blank": draw(st.integers(0, 3)),
        "mark": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "format": draw(st.sampled_from(["r", ".17e", "+.17g"])),
    }
    return options, free


def written(table, how, free):
    """The bytes of a file that holds the table."""
    absent = how.na[0] if how.na else ""

    def cell(value):
        if value is None:
            return absent
        if isinstance(value, str):
            return value
        return (repr(value) if free["format"] == "r" else format(value, free["format"])).replace(".", how.decimal)

    def line(cells, quoting=free["quoting"]):
        stream = io.StringIO()
        csv.writer(stream, delimiter=how.separator, quoting=quoting, lineterminator=free["end"]).writerow(cells)
        return stream.getvalue()

    lines = [line(table)] if how.header else []
    for row in zip(*table.values(), strict=True):
        if how.comment:
            lines.append(f"{how.comment} 1{how.separator}2 by hand{free['end']}")
        text = line(map(cell, row))
        lines.append(line(map(cell, row), csv.QUOTE_ALL) if how.comment and text.startswith(how.comment) else text)
    lines.append(free["end"] * free["blank"])
    return "".join(lines).encode(how.encoding or free["mark"])


def expected(table, header=True, absent=np.nan):
    numeric = {name: cells for name, cells in table.items() if not isinstance(cells[0], str)}
    names = list(table) if header else [f"c{i}" for i in range(1, len(table) + 1)]
    words = [name for name, cells in zip(names, table.values(), strict=True) if isinstance(cells[0], str)]
    columns = tuple(name for name in names if name not in words)
    values = np.array([[absent if c is None else c for c in cells] for cells in numeric.values()]).T
    return columns, values, words


def refuses_or_is(path, table, dialect, **of):
    """Whether it is read as it is; a refusal is a ValueError in one line."""
    try:
        got = read_table(path, dialect=dialect)
    except ValueError as refused:
        error = str(refused)
    else:
        error = ""
    if error:
        assert "\n" not in error
        assert len(error) < 600
        return False
    columns, values, words = expected(table, **of)
    assert got.columns == columns
    np.testing.assert_array_equal(got.values, values)
    assert [skipped.column for skipped in got.skipped] == words
    return True


@given(tables(), dialects())
def test_what_was_written_is_read_back(tmp_path_factory, table, dialect):
    how, free = dialect
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(written(table, how, free))
    assert refuses_or_is(path, table, how, header=how.header)


@given(tables(), dialects())
def test_without_the_options_it_is_refused_or_the_same(tmp_path_factory, table, dialect):
    how, free = dialect
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(written(table, how, free))
    absent = float(how.na[0]) if how.na == ("-99999",) else np.nan  # a number, for who does not know
    refuses_or_is(path, table, Dialect(), absent=absent)


@given(tables(), dialects(), dialects())
def test_with_other_options_it_is_refused_or_the_same(tmp_path_factory, table, dialect, other):
    """With a header, whose cells are counted: a headless 1,5 is two columns for who says so."""
    (how, free), (wrong, _) = dialect, other
    how = replace(how, header=True)
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(written(table, how, free))
    wrong = replace(how, separator=wrong.separator, decimal=wrong.decimal, encoding=wrong.encoding)
    refuses_or_is(path, table, wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n3,n/a\n", r"'n/a' in row 2, .*--na 'n/a' and --missing drop.*--skip 'y'"),
        ("x,y\n1,2\n3,-\n4,-\n5,-\n", "'-' in row 2, .*--na '-'"),
        ('x,y\n1,"1,234.5"\n3,4\n', r"'1,234.5' in row 1, .*thousands"),
        ('x,y\n1,"1,234"\n3,"2,345"\n', "--decimal , .*thousands"),
        ("x,y\n1,1 234\n3,2 345\n", "thousands"),
        ('x,y\n1,"1,234.5"\n3,4\n', "; --thousands , reads it"),
        ("x;y\n1.234,5;2\n987,1;2,5\n", "--decimal , --thousands .$"),
        ("x;y\n1.234,5;2,5\n-1.234.987,1;7,5\n", "--decimal , --thousands .$"),
        ('x\n"1.234,5"\n"2.345,25"\n', "; --decimal , --thousands . reads it"),
        ("x;y\n1'234.5;2\n987.1;2.5\n", "--separator ';' --thousands \"'\"$"),
        ("x;y\n1 234,5;2\n987,1;2,5\n", "--decimal , --thousands \" \"$"),
        ("x,y\n1,5%\n3,7%\n", "digits, a sign"),
        ("x,y\n1,$5\n3,$7.50\n", "digits, a sign"),
        ("x,y\n1,5.1 ms\n3,17 ms\n", "without the unit 'ms'"),
        ("x,y\n1,5.1°C\n3,17.5°C\n", "without the unit '°C'"),
        ("x,y\n1,1.5D+03\n3,1.5D+04\n", "digits, a sign"),
        ("x;y\n1,5;2\n1;2,5\n", "--decimal ,$"),
        ("x;y\n1;2\n", "--separator ';'$"),
        ("x\ty\n1\t2\n", r"--separator '\\t'$"),
        ("x|y\n1|2\n", r"--separator '\|'$"),
        ("x   y\n1     2\n10   20\n", "--separator space$"),
        ("# a table\nx,y\n1,2\n", "--comment '#'"),
        ("#x,y\n1,2\n", "begins with '#'; give --comment '#' .*--header"),
        ("% a table\nx\n1\n", "--comment '%'$"),
        ("1,2\n3,4\n", "'1' stands over numbers; give --no-header"),
        ("0\n1\n", "--no-header"),
        ("2024-01-31,5.3\n2024-02-01,6\n", "'5.3' stands over numbers; give --no-header .*--header"),
        ("NA,a\n1,b\n", "--no-header"),
        ("n/a\n1\n", "'n/a' stands over numbers; give --no-header"),
        ("1,2,3\n", r"one line of 3 numbers, .* `tr ',' '\\n'` makes them, and --no-header reads them$"),
        ("x,y\n1,2\n3\n", r"row 2 of .* \(line 3\) has 1 cell, the header has 2$"),
        ('x,y\n1,"2\n3,4\n', "unexpected end of data"),
        ("x,x\n1,2\n", "two columns of .* are called 'x'"),
        ("\n \n", "is empty"),
        ("x\ny\0\n", "zero bytes"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_would_do(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("höhe,y\n1,2\n".encode("latin-1"), "0xf6 in line 1 is not UTF-8; .*--encoding .*latin-1"),
        ("x,y\n1,2\n".encode("utf-16-le"), "--encoding such as utf-16-le"),
        ("x,y\n1,2\n".encode("utf-16-be"), "--encoding such as utf-16-be"),
        (b"PK\x03\x04", "spreadsheet; save it as CSV"),
        (b"\x1f\x8bx", "cannot decompress"),
    ],
)
def test_bytes_that_are_no_text_say_what_they_may_be(tmp_path, data, message):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "a.csv")


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=6), st.sampled_from([".", ","]),
    st.sampled_from([".", ",", "'", " ", "’", "\u202f"]), st.integers(0, 6),
)  # fmt: skip
def test_thousands_are_read_back_and_refused_without_the_option(tmp_path_factory, values, decimal, thousands, digits):
    """A group of three digits may be a fraction to who does not know; what is refused names the option."""
    hypothesis.assume(decimal != thousands)
    path, meant = tmp_path_factory.getbasetemp() / "thousands.csv", [float(f"{x:.{digits}f}") for x in values]
    cells = [f"{x:,.{digits}f}".replace(".", "!").replace(",", thousands).replace("!", decimal) for x in values]
    path.write_text("".join(f"{line};a\n" for line in ("x", *cells)), encoding="utf-8")
    mark = {"’": "'", "\u202f": " "}.get(thousands, thousands)
    how = Dialect(";", decimal, thousands=mark)
    assert read_table(path, dialect=how).values[:, 0].tolist() == meant
    if max(map(abs, meant)) >= 1e6 or (digits and max(map(abs, meant)) >= 1e3):  # 1.234 alone is a number
        with pytest.raises(ValueError, match=r"--thousands|no numeric column|in row"):
            read_table(path, dialect=replace(how, thousands=None))


@pytest.mark.parametrize("cell", ["1.23,5", "12.3456,0", "1..234", ".234,5", "1234.567", "1.5"])
def test_marks_that_do_not_part_thousands_are_refused(tmp_path, cell):
    path = tmp_path / "a.csv"
    path.write_text(f"x;y\n{cell};1\n7;2\n")
    with pytest.raises(ValueError, match="wanted a number"):
        read_table(path, dialect=Dialect(decimal=",", thousands="."))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decimal": ",", "thousands": ","}, "thousands and decimal must differ"),
        ({"thousands": "_"}, "thousands must be one of"),
        ({"separator": "--"}, "one ASCII character, got '--'"),
        ({"separator": "."}, "not be a part of numbers"),
        ({"separator": ",", "decimal": ","}, "must differ, got ','"),
        ({"decimal": "x"}, "decimal must be"),
        ({"encoding": "klingon"}, "got 'klingon'"),
        ({"encoding": "base64"}, "got 'base64'"),
        ({"comment": " "}, "comment must be"),
    ],
)
def test_dialects_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Dialect(**options)


def test_names_for_separators_and_runs_of_blanks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x   y\n 1 2\n10\t 20 \n\n")
    for name in ("space", " ", "whitespace", r"\s+"):
        assert read_table(path, dialect=Dialect(name)).values.tolist() == [[1.0, 2.0], [10.0, 20.0]]
    path.write_text("x\ty\n1\t2\n")
    for name in ("tab", r"\t", "\t"):
        assert read_table(path, dialect=Dialect(name)).values.tolist() == [[1.0, 2.0]]


def test_a_blank_line_is_a_row_of_missing_values(tmp_path):
    for header, width in (("x", 1), ("x,y", 2)):
        (tmp_path / "a.csv").write_text(f"{header}\n{','.join('1' * width)}\n\n{','.join('3' * width)}\n")
        np.testing.assert_array_equal(
            read_table(tmp_path / "a.csv").values, np.repeat([[1.0], [np.nan], [3.0]], width, 1)
        )


def test_a_number_that_stands_for_missing_is_every_equal_number(tmp_path):
    (tmp_path / "a.csv").write_text("x\n-999\n-999.0\n1\n")
    assert read_table(tmp_path / "a.csv", dialect=Dialect(na=("-999",))).missing.tolist() == [2]
    pl.DataFrame({"x": [-999.0, 1.0], "y": ["2", "none"]}).write_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", dialect=Dialect(na=("-999", "none"))).missing.tolist() == [1, 1]
    with pytest.raises(ValueError, match="'none' in row 2"):
        read_table(tmp_path / "a.parquet")


def test_a_name_that_is_a_number_can_be_meant(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("place,2023,2024\nhere,1,2\nthere,3,4\n")
    assert read_table(path, dialect=Dialect(header=True)).columns == ("2023", "2024")
    assert read_table(path, ["2024"]).others == ("2023",)
    assert read_table(path, dialect=Dialect(header=False, na=("x",)), skip=["c1"]).columns == ("c2", "c3")


# -- the commands ------------------------------------------------------------------------------------------------------

X = np.random.default_rng(5).normal(size=(300, 2)).round(3)


def run(*arguments, code=0, **kwargs):
    result = CliRunner().invoke(main, [str(a) for a in arguments], **kwargs)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    pl.DataFrame(X, schema=["x", "y"]).with_columns(day=pl.lit("Mo")).write_csv(folder / "history.csv")
    run("fit", folder / "history.csv", "--save", folder / "tail.npz")
    return folder


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x,y\n9999,1\n1,n/a\n", (), "'n/a' in row 2"),
        ("x\n1\n", (), "no column 'y'"),
        ("x,y2\n1,2\n", (), "no column 'y'"),
        ("x,y,z\n1,2,3\n", (), "knows nothing of, .*'z'; .*--skip NAME or -c NAME"),
        ("x,y,z\n1,2,n/a\n1,2,5\n", (), "knows nothing of, .*'z'"),
        ("x,y\n1,2\n", ("--skip", "y"), "asked for and to be skipped"),
        ("1,2\n1,2\n", (), "--no-header"),
        ("x;y\n1,5;2\n", (), "--decimal ,"),
        ("x,y\nNA,NA\n", ("--missing", "drop"), "no value that can be scored"),
    ],
)  # fmt: skip
def test_an_alarm_never_overlooks_a_column(history, tmp_path, text, options, message):
    (tmp_path / "today.csv").write_text(text)
    alarm = ("--tail", history / "tail.npz", "--alarm", 1e-6)
    error = run("score", tmp_path / "today.csv", *alarm, *options, code=2).stderr
    assert len(error.splitlines()) == 1
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("x,y,z\n9999,1,3\n", ("--skip", "z")),
        ("day,x,y\nMo,9999,1\n", ()),
        ("x,y\n9999,n/a\n", ("--na", "n/a", "--missing", "drop")),
        ("x;y\n9999,5;1\n", ("--decimal", ",")),
        ("x\ty\n9999\t1\n", ("--separator", r"\t")),
        ("x y\n9999   1\n", ("--separator", "space")),
        ("# of today\ny,x\n1,9999\n", ("--comment", "#")),
    ],
)
def test_an_alarm_sees_a_file_in_any_dialect(history, tmp_path, text, options):
    (tmp_path / "today.csv").write_text(text)
    for file, given_ in ((tmp_path / "today.csv", {}), ("-", {"input": text.encode()})):
        out = run("score", file, "--tail", history / "tail.npz", "--alarm", 1e-6, *options, code=1, **given_).stdout
        assert "alarms: 1 value more improbable than 1e-06" in out
        assert f"of {2 - ('n/a' in text)} scored, {int('n/a' in text)} missing" in out


def test_what_is_left_out_is_said_where_the_user_looks(tmp_path, monkeypatch):
    text = "day,x,y\n" + "".join(f"Mo,{a},{'NA' if i < 3 else b}\n" for i, (a, b) in enumerate(X))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for command in ("fit", "score"):
        out = run(command, "-", "--missing", "drop", input=text.encode()).stdout
        assert "missing values left out, of 300 rows: 3 in y" in out
        assert "columns left out: day (text, such as 'Mo')" in out
    assert "3 in 'y'" in run("fit", "-", input=text.encode(), code=2).stderr
