"""The demonstration: real data that Matplotlib ships, findings, pictures."""

import numpy as np
import pytest
from click.testing import CliRunner

from evtkit import demo, fit_tail
from evtkit.cli import main


def test_the_data_are_what_the_text_says():
    days, loss = demo.daily_losses()
    assert days.shape == loss.shape == (1046,)
    assert str(days[np.argmax(loss)]) == "2008-09-29"
    months, names, losses = demo.monthly_losses()
    assert losses.shape == (months.size, len(names)) == (389, 7)
    assert np.all(np.isfinite(losses))
    assert np.all(np.diff(months) == np.timedelta64(1, "M"))
    assert str(months[np.argmin(-losses[:, names.index("Apple")])]) == "2000-09"  # the profit warning


def test_the_command_does_every_part_and_prints_what_it_found(tmp_path, monkeypatch):
    parts, run = [], demo.run

    def seen(folder):
        for part in run(folder):
            parts.append(part)
            yield part

    monkeypatch.setattr(demo, "run", seen)
    folder = tmp_path / "new" / "folder"
    result = CliRunner().invoke(main, ["demo", "--output", str(folder)])
    assert result.exit_code == 0, result.output
    assert len(parts) == len(demo.PARTS)
    for part in parts:
        assert part.title in result.output
        assert part.lines
        assert all(line in result.output for line in part.lines)
        assert part.pictures
        assert all(picture.parent == folder and picture.stat().st_size > 5000 for picture in part.pictures)
    _, loss = demo.daily_losses()
    tail = fit_tail(loss, quantile=0.9)
    assert f"once in {1 / tail.sf(loss.max()):,.0f} days" in "\n".join(parts[0].lines)
    assert "2008-09-29" in result.output
    assert "S&P 500" in result.output


def test_the_command_fails_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["demo", "--output", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"evtkit\[plot\]"):
        demo.daily_losses()
