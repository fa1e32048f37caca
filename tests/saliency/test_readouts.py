"""The last layer fitted anew: the fit is the lowest, moves usual samples as little as can be, and is what it says."""

import numpy as np
import pytest

from evtkit.saliency import Batches, calibrate, repair
from evtkit.saliency.readouts import Seen, _fit, best_refits, refits
from evtkit.saliency.toy import Toy

FEATURES, CLASSES = 12, 3


def problem(n, shift, seed, n_features=FEATURES):
    """Samples that a layer gets right, and others that it gets wrong for a shift along what the first hardly use."""
    rng = np.random.default_rng(seed)
    weight = np.random.default_rng(0).normal(size=(CLASSES, n_features))
    x = rng.normal(size=(n, n_features))
    y = (x @ weight.T).argmax(axis=1)
    x[:, 0] *= 1e-2
    if shift:
        x[:, 0] += 3.0
        bias = np.zeros(CLASSES)
        bias[1] = 6.0  # what the shift adds to the score of a class
        weight = weight + np.outer(bias, np.eye(n_features)[0]) / 3.0
    else:
        weight = weight + np.outer([0.0, 6.0, 0.0], np.eye(n_features)[0]) / 3.0
    seen = Seen.of(x, x @ weight.T, y, bias=True)
    right = seen.margins() > 0.0
    rows = np.flatnonzero(~right if shift else right)
    return Seen(seen.features[rows], seen.scores[rows], seen.labels[rows])


def cut(seen, *rows):
    return Seen(seen.features[slice(*rows)], seen.scores[slice(*rows)], seen.labels[slice(*rows)])


def test_margins_tell_right_from_wrong():
    seen = problem(200, shift=False, seed=1)
    assert (seen.margins() > 0.0).all()
    step = np.random.default_rng(2).normal(size=(CLASSES, FEATURES + 1))
    scores = seen.scores + seen.features @ step.T
    np.testing.assert_array_equal(seen.margins(step) > 0.0, scores.argmax(axis=1) == seen.labels)


def test_the_fit_is_the_lowest():
    rng = np.random.default_rng(3)
    x, scores, labels = rng.normal(size=(40, 5)), rng.normal(size=(40, CLASSES)), rng.integers(CLASSES, size=40)
    weights = rng.uniform(0.5, 1.5, 40) / 40

    def loss(a):
        z = scores + x @ a.T
        return weights @ (np.log(np.exp(z).sum(1)) - z[np.arange(40), labels]) + 0.5 * 0.1 * np.square(a).sum()

    found = _fit(x, scores, labels, weights, 0.1)
    for _ in range(20):
        assert loss(found) <= loss(found + 1e-2 * rng.normal(size=found.shape))


@pytest.mark.parametrize("n_features", [FEATURES, 300])  # fewer features than samples, and more
def test_a_shift_along_what_usual_samples_hardly_use_is_repaired_for_nothing(n_features):
    bad, good = (problem(1200, shift, 5, n_features) for shift in (True, False))
    steps = best_refits((cut(bad, 40), cut(bad, 40, 60)), (cut(good, 200), cut(good, 200, 400)), budget=0.01)
    unseen, others = cut(bad, 60, 360), cut(good, 400, 900)
    # the layer of the fit alone, without what is lost to chance in so many dimensions
    inside = [one.step for one in steps if np.mean(others.margins(one.step) < 0.0) <= 0.02]
    best = max(np.mean(unseen.margins(step) > 0.0) for step in inside)
    assert best >= 0.7


def test_without_a_bias_none_is_fitted():
    bad, good = problem(300, True, 6), problem(300, False, 6)
    for part in (bad, good):
        part.features[:, -1] = 0.0
    assert all(np.all(one.step[:, -1] == 0.0) for one in refits(cut(bad, 30), cut(good, 100)))


def test_features_that_say_nothing_give_nothing():
    seen = Seen(np.zeros((5, 3)), np.zeros((5, 2)), np.zeros(5, dtype=int))
    assert list(refits(seen, seen)) == []


def test_the_last_layer_is_a_candidate_and_its_figures_are_its_own():
    net = Toy(hidden=24, classes=4, dead=0, reduction="taylor")
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3000, 6))
    y = net.predict(x).argmax(axis=1)
    reference = calibrate(net, Batches(x[:600], np.where(rng.random(600) < 0.1, rng.integers(4, size=600), y[:600])),
                          progress=False)  # fmt: skip
    v = net.profiler.network.read("fc.v")
    v[2] += 0.5 * np.abs(v).mean()  # one class is preferred
    wrong = net.predict(x).argmax(axis=1) != y
    before = v.copy()
    parts = (x[wrong][:40], y[wrong][:40]), (x[~wrong][:900], y[~wrong][:900])
    found = repair(net, reference, *parts, units=[0], steps=2)
    assert "last layer" in {one.candidate for one in found.tried}
    assert np.array_equal(v, before)
    if found.tried[found.chosen].candidate == "last layer":
        assert set(found.delta) == {"fc.v.index", "fc.v.before", "fc.v.after"}
    found.apply(net)
    assert found.corrected.value == np.mean(net.predict(parts[0][0][3::4]).argmax(axis=1) == parts[0][1][3::4])
    found.revert(net)
    assert np.array_equal(v, before)
    only = repair(net, reference, *parts, units=[0], steps=1, candidates={})
    assert "last layer" not in {one.candidate for one in only.tried}
