"""The repair protocol against itself written out with loops."""

import csv

import numpy as np
import pytest

from evtkit import plot
from evtkit.ranking import SCORES
from evtkit.saliency import Batches, calibrate, evaluate
from evtkit.saliency.toy import Toy, samples

MISTAKES = samples(40, seed=5)
HELD_OUT = samples(50, seed=9, noise=0.0)
QUICK = {"prune": (1, 3), "tune": (1, 4), "progress": False, "n_boot": 50}


def bits(net):
    return net.w.tobytes(), net.v.tobytes()


@pytest.fixture(scope="module")
def results(reference):
    return evaluate(
        Toy(), reference, MISTAKES, held_out=HELD_OUT, collateral_k=(1, 4), step=0.1, equal_norm=True, **QUICK
    )


def test_every_outcome_equals_the_protocol_written_out(reference, results):
    net, (x, y) = Toy(), MISTAKES
    wrong = np.flatnonzero(net.predict(x).argmax(1) != y)
    assert (len(results), results.n_left_out) == (len(wrong), 40 - len(wrong))
    right = net.predict(HELD_OUT[0]).argmax(1) == HELD_OUT[1]
    for place, i in enumerate(wrong):
        p = net.predict(x[i : i + 1])[0]
        gradient = net.gradient(x[i : i + 1], y[i : i + 1])
        slopes = [*gradient.parameters["layer1.conv.w"], *gradient.parameters["fc.v"]]
        for r, by in enumerate(list(SCORES)[:-1]):
            order = reference.rank(net.profile(x[i : i + 1], y[i : i + 1])[0], by).order
            for repair, ks in (("prune", (1, 3)), ("tune", (1, 4)), ("tune_equal", (1, 4))):
                for j, k in enumerate(ks):
                    changed = Toy()
                    rows = [*changed.w, *changed.v]
                    units = order[:k]
                    step = 0.1
                    if repair == "tune_equal":
                        longest = np.sqrt(np.sort(gradient.norms**2)[::-1][:k].sum())
                        step = 0.1 * longest / np.linalg.norm(gradient.norms[units])
                    for unit in units:
                        rows[unit][:] -= rows[unit] if repair == "prune" else step * slopes[unit]
                    q = changed.predict(x[i : i + 1])[0]
                    curves = results.curves[repair]
                    assert curves.wrong[r, place, j] == pytest.approx(q[p.argmax()] - p[p.argmax()], abs=1e-12)
                    assert curves.true[r, place, j] == pytest.approx(q[y[i]] - p[y[i]], abs=1e-12)
                    assert curves.corrected[r, place, j] == (q.argmax() == y[i])
                    lost = np.mean(changed.predict(HELD_OUT[0])[right].argmax(1) != HELD_OUT[1][right])
                    measured = curves.collateral[r, place, j]
                    assert measured == pytest.approx(lost) if k in (1, 4) else np.isnan(measured)


def test_scores_of_ones_own_are_compared_like_the_others(reference):
    net = Toy()
    mine = {"mine": net.profile, "other": lambda x, y: -net.profile(x, y)}
    results = evaluate(net, reference, MISTAKES, by=("gradient",), scores=mine, batch_size=7, step=0.1, **QUICK)
    assert results.by == ("gradient", "mine", "other")
    for curves in results.curves.values():
        assert np.array_equal(curves.true[0], curves.true[1])
        assert not np.array_equal(curves.true[0], curves.true[2])
    alone = evaluate(net, reference, MISTAKES, by=(), scores=mine, step=0.1, **QUICK)
    assert np.array_equal(alone.curves["prune"].true, results.curves["prune"].true[1:])
    assert plot.repair_curves(results).axes


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"pot": lambda x, y: x}, "must have other names than the rankings, got .'pot'."),
        ({"mine": lambda x, y: x}, "scores 'mine' must have shape .*12"),
        ({"mine": lambda x, y: np.full((len(y), 12), np.nan)}, "without NaN"),
    ],
)
def test_scores_are_checked(reference, scores, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Toy(), reference, MISTAKES, scores=scores, **QUICK)


def test_weights_are_restored_bit_for_bit(reference):
    net = Toy()
    before = bits(net)
    evaluate(net, reference, MISTAKES, **QUICK)
    assert bits(net) == before


def test_weights_are_restored_after_an_exception(reference):
    class Failing(Toy):
        calls = 0

        def predict(self, x):
            self.calls += 1
            if self.calls == 60:
                raise RuntimeError("out of memory")
            return super().predict(x)

    net = Failing()
    before = bits(net)
    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate(net, reference, MISTAKES, **QUICK)
    assert bits(net) == before


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_batch_size_does_not_change_the_results(reference, results, size):
    other = evaluate(
        Toy(), reference, MISTAKES, held_out=HELD_OUT, collateral_k=(1, 4), step=0.1, equal_norm=True, batch_size=size,
        **QUICK,
    )  # fmt: skip
    for name, column in results.samples.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, other.samples[name], atol=1e-12)
        else:
            assert np.array_equal(column, other.samples[name])


def test_the_gradient_is_taken_once_a_sample_at_the_original_weights(reference):
    class Counting(Toy):
        calls = 0

        def gradient(self, x, y, selection=None):
            self.calls += 1
            assert bits(self) == bits(Toy())
            return super().gradient(x, y, selection)

    net = Counting()
    results = evaluate(net, reference, MISTAKES, tune=range(1, 12), equal_norm=True, n_boot=10, progress=False)
    assert net.calls == len(results)


def test_default_grids_end_where_the_units_do(reference):
    results = evaluate(Toy(), reference, MISTAKES, by=("random",), n_boot=10, progress=False)
    assert all(curves.k.tolist() == list(range(1, 13)) for curves in results.curves.values())


def test_changing_all_units_is_the_same_whatever_the_ranking(reference):
    results = evaluate(Toy(), reference, MISTAKES, prune=(12,), tune=(12,), equal_norm=True, n_boot=10, progress=False)
    for curves in results.curves.values():
        np.testing.assert_allclose(curves.wrong, np.broadcast_to(curves.wrong[:1], curves.wrong.shape), atol=1e-12)


def test_summary_holds_the_means_and_bands_around_them(results):
    s, rows = results.means, results.samples
    for i in range(0, len(s["k"]), 5):
        some = (rows["repair"] == s["repair"][i]) & (rows["by"] == s["by"][i]) & (rows["k"] == s["k"][i])
        assert s["n"][i] == np.count_nonzero(some) == len(results)
        assert s["n_k"][i] == np.count_nonzero(rows["n_above"][some] >= s["k"][i])
        for metric in ("wrong", "true", "corrected"):
            assert s[metric][i] == pytest.approx(rows[metric][some].mean())
            assert s[f"{metric}_low"][i] <= s[metric][i] + 1e-12
            assert s[f"{metric}_high"][i] >= s[metric][i] - 1e-12


def test_bands_depend_on_the_seed_alone(reference, results):
    again = evaluate(
        Toy(), reference, MISTAKES, held_out=HELD_OUT, collateral_k=(1, 4), step=0.1, equal_norm=True, **QUICK
    )
    other = evaluate(Toy(), reference, MISTAKES, step=0.1, seed=1, **QUICK)
    assert np.array_equal(results.means["wrong_low"], again.means["wrong_low"])
    assert not np.array_equal(results.curves["prune"].wrong[-1], other.curves["prune"].wrong[-1])  # the random ranking
    assert np.array_equal(results.curves["prune"].wrong[:-1], other.curves["prune"].wrong[:-1])


def test_a_difference_is_paired(results):
    curves = results.curves["tune"]
    mean, low, high = results.difference("pot", "random", "true", "tune", 4)
    assert mean == pytest.approx((curves.true[0, :, 1] - curves.true[-1, :, 1]).mean())
    assert low <= mean <= high
    assert results.difference("pot", "pot", "true", "tune", 4) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("what", ["means", "samples"])
def test_csv_holds_the_table(tmp_path, results, what):
    path = results.to_csv(tmp_path / "table.csv", what)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = getattr(results, what)
    assert list(rows[0]) == list(table)
    assert len(rows) == len(table["k"])
    for name, column in table.items():
        read = [row[name] for row in rows]
        if column.dtype.kind == "f":
            np.testing.assert_array_equal([float(cell) if cell else np.nan for cell in read], column)
        else:
            assert read == [str(cell) for cell in column.tolist()]


def test_table_shows_the_numbers_asked_for(results):
    assert len(results.table((1,)).splitlines()) == 1 + 3 * len(SCORES)
    assert "random" in results.table((4,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": ("pot", "magic")}, "by must be .* got"),
        ({"by": ("pot", "pot")}, "each once"),
        ({"by": ()}, "by must be .* got"),
        ({"prune": (0,)}, "prune must be .* got"),
        ({"prune": (13,)}, "must be ascending numbers of units from 1 to 12"),
        ({"tune": (3, 2)}, "tune must be .* got"),
        ({"prune": (), "tune": ()}, "to prune or tune, got neither"),
        ({"step": 0.0}, "step must .*got 0.0"),
        ({"step": float("nan")}, "step must .*got nan"),
        ({"n_boot": 0}, "n_boot must .*got 0"),
        ({"batch_size": 0}, "batch size must be at least 1, got 0"),
        ({"held_out": (HELD_OUT[0], (HELD_OUT[1] + 1) % 4)}, "must be classified right, got none"),
    ],
)
def test_bad_options_are_refused(reference, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Toy(), reference, MISTAKES, **(QUICK | options))


def test_samples_without_a_mistake_and_references_of_others_are_refused(reference):
    with pytest.raises(ValueError, match="that are all classified right"):
        evaluate(Toy(), reference, samples(20, noise=0.0), **QUICK)
    with pytest.raises(ValueError, match="reference must be for"):
        evaluate(Toy(hidden=9), reference, MISTAKES, **QUICK)
    other = Toy(hidden=9)
    wider = calibrate(other, Batches(*samples(200)), progress=False)
    with pytest.raises(ValueError, match="reference must be for"):
        evaluate(Toy(), wider, MISTAKES, **QUICK)


@pytest.mark.parametrize(("metric", "repair", "k"), [("speed", "tune", 1), ("wrong", "cut", 1), ("wrong", "tune", 2)])
def test_a_difference_of_what_is_not_there_is_refused(results, metric, repair, k):
    with pytest.raises(ValueError, match="got "):
        results.difference("pot", "random", metric, repair, k)
