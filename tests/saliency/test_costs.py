"""Costs: what a change that was chosen by few samples loses of others stays within the budget, in the mean."""

import math

import numpy as np
import pytest

from evtkit.saliency.costs import Sizing, expected_loss, near_below
from evtkit.saliency.repairs import Share
from evtkit.saliency.toy import Toy, samples


def test_near_below_is_the_share_of_pairs_next_to_each_other():
    rng = np.random.default_rng(4)
    margins, changes = np.sort(rng.normal(1.0, size=31)), rng.normal(size=31)
    firsts = [max(0, min(i - 2, 26)) for i in range(31)]
    windows = [range(first, first + 5) for first in firsts]
    pairs = [margins[i] + changes[j] < 0.0 for i, window in enumerate(windows) for j in window]
    assert near_below(margins, changes) == pytest.approx(np.mean(pairs))
    turned = rng.permutation(31)
    assert near_below(margins[turned], changes[turned]) == pytest.approx(np.mean(pairs))


def test_what_scales_all_margins_loses_none():
    margins = np.random.default_rng(5).gamma(2.0, size=200)
    assert near_below(margins, -0.7 * margins) <= 0.01


def lost_by_the_largest(n, budget, paths, cost, draws):
    """Mean share lost of others by the largest change, of several directions and sizes, that a rule lets pass.

    Margins are gamma variables; a change of size s moves each by a normal variable of s, its own in each direction,
    and twice as far where the margin is less than the median.
    """
    rng = np.random.default_rng([n, paths])
    sizes = np.geomspace(0.02, 3.0, 16)
    many = rng.gamma(2.0, size=10_000)
    near = np.where(many < 1.68, 2.0, 1.0)
    moves = near * rng.normal(size=(paths, many.size))
    truth = np.array([[np.mean(many + size * way < 0.0) for size in sizes] for way in moves])
    total = 0.0
    for _ in range(draws):
        rows = rng.integers(many.size, size=n)
        before, ways = many[rows], moves[:, rows]
        inside = [
            (j, rng.random(), i) for i, way in enumerate(ways) for j, size in enumerate(sizes)
            if cost(int(np.count_nonzero(before + size * way < 0.0)), before, before + size * way, n) <= budget
        ]  # fmt: skip
        if inside:
            j, _, i = max(inside)
            total += truth[i, j]
    return total / draws


@pytest.mark.parametrize(("n", "budget"), [(30, 0.05), (75, 0.02), (150, 0.01)])
def test_others_lose_no_more_than_the_budget_in_the_mean(n, budget):
    assert lost_by_the_largest(n, budget, 4, expected_loss, 100) <= budget
    counted = lost_by_the_largest(n, budget, 4, lambda lost, before, after, n: lost / n, 60)
    assert counted > 1.3 * budget  # so few samples do lose more of others if they are taken at their word


def test_without_margins_one_change_of_any_size_is_within_the_budget():
    lost = lost_by_the_largest(100, 0.01, 1, lambda lost, before, after, n: expected_loss(lost, None, None, n), 150)
    assert lost <= 0.01


def test_the_network_and_its_samples_say_what_is_lost():
    x, y = samples(300, noise=0.0)
    net = Toy(reduction="taylor")
    right = net.predict(x).argmax(axis=1) == y
    sizing = Sizing(net, (x[right], y[right]), 64, None)
    n = int(right.sum())
    assert sizing.now() == (0, 1.0 / (n + 1))
    with net.scaled([5], -4.0):
        lost, cost = sizing.now()
        assert lost == np.count_nonzero(net.predict(x[right]).argmax(axis=1) != y[right])
        assert cost >= (lost + 1) / (n + 1)
    judged = Sizing(net, (x[right], y[right]), 64, lambda predictions, y: predictions.argmax(axis=1) != y)
    with net.scaled([5], -4.0):
        assert judged.now() == (lost, (lost + 1) / (n + 1))


def test_what_may_be_lost_is_exact():
    assert Share.of([False] * 60).most == pytest.approx(1.0 - 0.05 ** (1 / 60))
    assert Share.of([True] * 3).most == 1.0
    some = Share.of(np.arange(50) < 4)
    at_most_4 = sum(math.comb(50, k) * some.most**k * (1.0 - some.most) ** (50 - k) for k in range(5))
    assert at_most_4 == pytest.approx(0.05)
