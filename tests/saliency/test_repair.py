"""Repair: a change that corrects a planted fault's mistakes, chosen and judged on samples that are in no loss."""

import itertools

import numpy as np
import pytest
from planted import damaged, labelled, made

from evtkit.saliency import Batches, calibrate, repair, report, suspects
from evtkit.saliency.repairs import Share, Tried


@pytest.fixture(scope="module")
def usual():
    return calibrate(made(), Batches(*labelled(1000, seed=1)), progress=False)


@pytest.fixture(scope="module")
def broken():
    """A network with a fault, its mistakes, and samples that it gets right."""
    net = made()
    net.rows[14][:] = damaged(net.rows[14].copy(), "scale", np.random.default_rng(0))
    x, y = labelled(1500, seed=5, noise=0.0)
    right = net.predict(x).argmax(axis=1) == y
    return net, (x[~right][:60], y[~right][:60]), (x[right][:900], y[right][:900])


@pytest.fixture(scope="module")
def mended(usual, broken):
    return repair(broken[0], usual, broken[1], broken[2])


def rows(net):
    return [row.copy() for row in net.rows]


def test_it_corrects_unseen_mistakes_within_the_budget(broken, mended):
    net, (x, y), _ = broken
    before = rows(net)
    chosen = mended.tried[mended.chosen]
    assert chosen.lost <= mended.budget
    assert mended.corrected.value >= 0.5
    assert mended.lost.value <= 0.03
    mended.apply(net)
    assert np.mean(net.predict(x).argmax(axis=1) == y) >= 0.5
    mended.revert(net)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))


def test_the_network_is_what_it_was(usual, broken):
    net, own, keep = broken
    before = rows(net)
    repair(net, usual, own, keep, units=[14], steps=2)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))


def test_a_fault_may_be_there_for_a_while_only(usual):
    net = made()
    before = rows(net)
    x, y = labelled(900, seed=5, noise=0.0)
    with net.scaled([14], -1.0):
        broken = rows(net)
        right = net.predict(x).argmax(axis=1) == y
        found = repair(net, usual, (x[~right][:40], y[~right][:40]), (x[right], y[right]), units=[14])
        assert all(np.array_equal(a, b) for a, b in zip(broken, net.rows, strict=True))
        found.apply(net)
        assert found.corrected.value == np.mean(net.predict(x[~right][3:40:4]).argmax(axis=1) == y[~right][3:40:4])
        found.revert(net)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))


def test_what_reports_has_no_say(usual, broken):
    net, (x, y), (kept, labels) = broken
    one = repair(net, usual, (x, y), (kept, labels), units=[14], steps=6)
    some, others = np.arange(len(y)) % 4 != 3, np.arange(len(labels)) % 4 != 2
    x, kept = x.copy(), kept.copy()
    x[~some], kept[~others] = x[~some][::-1], kept[~others][::-1]
    y, labels = y.copy(), labels.copy()
    y[~some], labels[~others] = y[~some][::-1], labels[~others][::-1]
    other = repair(net, usual, (x, y), (kept, labels), units=[14], steps=6)
    assert other.tried == one.tried
    assert all(np.array_equal(one.delta[name], other.delta[name]) for name in one.delta)


def test_the_change_in_the_table_is_the_change_that_is_made(broken, mended):
    net, (x, y), (kept, labels) = broken
    chosen = mended.tried[mended.chosen]
    turns, kept_turns = np.arange(len(y)) % 4, np.arange(len(labels)) % 4
    before = np.concatenate(rows(net))
    mended.apply(net)
    try:
        now = net.predict(x).argmax(axis=1) == y
        held = net.predict(kept).argmax(axis=1) == labels
        assert now[turns % 2 == 0].mean() == chosen.learnt
        assert now[turns == 1].mean() == chosen.corrected
        assert now[turns == 3].mean() == mended.corrected.value
        assert 1.0 - held[kept_turns % 2 == 1].mean() == pytest.approx(chosen.lost)
        assert 1.0 - held[kept_turns == 2].mean() == pytest.approx(mended.lost.value)
        assert np.linalg.norm(np.concatenate(rows(net)) - before) == pytest.approx(chosen.norm)
    finally:
        mended.revert(net)


def test_a_saved_delta_is_the_repair(broken, mended, tmp_path):
    net, (x, _), _ = broken
    mended.apply(net)
    after = net.predict(x)
    mended.revert(net)
    mended.save(tmp_path / "repair.npz")
    with np.load(tmp_path / "repair.npz") as delta:
        net.apply(delta)
        np.testing.assert_array_equal(net.predict(x), after)
        net.apply(delta, revert=True)


def test_no_repair_is_said_where_none_fits_the_budget(usual, broken):
    net, own, keep = broken
    found = repair(net, usual, own, keep, units=[0], candidates={}, steps=0, budget=0.004)
    assert found.chosen == -1
    assert found.delta == {}
    assert "none" in repr(found)
    found.apply(net)
    assert found.corrected.value == 0.0


def test_the_frontier_rises(mended):
    frontier = mended.frontier()
    assert [one.lost for one in frontier] == sorted(one.lost for one in frontier)
    assert all(isinstance(one, Tried) for one in frontier)
    assert all(a.corrected < b.corrected for a, b in itertools.pairwise(frontier))
    assert mended.table().splitlines()[0].split()[0] == "changed"
    assert mended._repr_html_().count("<tr>") == len(mended.rows())


def test_wilson_interval():
    share = Share.of(np.arange(10) < 8)
    assert (share.low, share.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe 1998, method 3


def test_wrong_arguments_are_refused(usual, broken):
    net, (x, y), keep = broken
    with pytest.raises(ValueError, match="budget"):
        repair(net, usual, (x, y), keep, budget=0.0)
    with pytest.raises(ValueError, match="at least 300 samples"):
        repair(net, usual, (x, y), (keep[0][:200], keep[1][:200]))
    with pytest.raises(ValueError, match="at least 4"):
        repair(net, usual, (x[:3], y[:3]), keep)
    with pytest.raises(ValueError, match="a label a sample"):
        repair(net, usual, (x, y[:3]), keep)


def test_a_picture_and_a_report_show_what_was_tried(usual, broken, mended, tmp_path):
    pytest.importorskip("jinja2")
    plot = pytest.importorskip("evtkit.plot")
    ax = plot.repair_frontier(mended)
    lines = [line for line in ax.lines if line.get_label() in {one.candidate for one in mended.tried}]
    assert sum(len(line.get_xdata()) for line in lines) == len(mended.tried)
    net, own, _ = broken
    found = suspects(net, usual, own)
    page = report(tmp_path / "report.html", usual, suspects=found, repair=mended).read_text(encoding="utf-8")
    assert "Which units are at fault?" in page
    assert str(found.units.names[found.order[0]]) in page
    assert f"corrects {mended.corrected} mistakes" in page
