"""Suspects: a planted fault is found, a sound network is left alone, and the network stays what it was."""

import numpy as np
import pytest
from planted import KINDS, faulty, labelled, made

from evtkit.saliency import Batches, Reference, calibrate, suspects
from evtkit.saliency.mistakes import KEPT, UsualMistakes
from evtkit.saliency.toy import Toy

UNITS = (0, 5, 14, 21)  # hidden rows, of 24


@pytest.fixture(scope="module")
def usual():
    return calibrate(made(), Batches(*labelled(2000, seed=1)), progress=False)


def test_a_planted_fault_is_found(usual):
    reciprocal = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for unit in UNITS:
            net, x, y = faulty(unit, kind)
            found = suspects(net, usual, (x, y))
            reciprocal[kind].append(1.0 / (1 + found.ranked.tolist().index(unit)))
            assert found.lacks[0] == (kind == "zero")
    means = {kind: np.mean(of) for kind, of in reciprocal.items()}
    assert np.mean(list(means.values())) >= 0.85, means
    assert min(means.values()) >= 0.7, means


def test_a_sound_network_has_no_suspects_but_for_the_stated_level(usual):
    net = made()
    sets = 40
    named = 0
    for seed in range(sets):
        x, y = labelled(300, seed=100 + seed)
        wrong = np.flatnonzero(net.predict(x).argmax(axis=1) != y)[:10]
        found = suspects(net, usual, (x[wrong], y[wrong]), n_screen=3)
        named += len(found.found) > 0
        assert (len(found.found) == 0) == ("none" in repr(found).splitlines()[0])
    assert named <= 6  # binomial(40, 0.05): more with a probability of 0.3 %


def test_the_order_of_the_samples_and_the_batch_size_change_nothing(usual):
    net, x, y = faulty(5, "scale", 25)
    one = suspects(net, usual, (x, y))
    turned = np.random.default_rng(0).permutation(len(y))
    for other in (suspects(net, usual, (x[turned], y[turned])), suspects(net, usual, (x, y), batch_size=3)):
        assert other.ranked.tolist() == one.ranked.tolist()
        np.testing.assert_allclose(other.effect, one.effect, rtol=1e-6)
        np.testing.assert_allclose(other.p_value, one.p_value, rtol=1e-9)


def test_samples_that_are_right_are_left_out(usual):
    net, x, y = faulty(5, "scale")
    more, labels = labelled(40, seed=11, noise=0.0)
    right = net.predict(more).argmax(axis=1) == labels
    found = suspects(net, usual, (np.concatenate([more[right], x]), np.concatenate([labels[right], y])))
    assert found.n_mistakes == 10
    assert found.ranked.tolist() == suspects(net, usual, (x, y)).ranked.tolist()
    with pytest.raises(ValueError, match="must be mistakes"):
        suspects(net, usual, (more[right], labels[right]))


def test_the_weights_are_what_they_were_also_after_an_error(usual):
    net, x, y = faulty(5, "stuck")
    before = [row.copy() for row in net.rows]
    suspects(net, usual, (x, y))
    assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))

    calls = 0

    def failing(x, predict=net.predict):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return predict(x)

    net.predict = failing
    with pytest.raises(KeyboardInterrupt):
        suspects(net, usual, (x, y))
    assert all(np.array_equal(a, b) for a, b in zip(before, net.rows, strict=True))


def test_the_effect_is_the_share_of_the_loss_that_goes(usual):
    net, x, y = faulty(5, "scale")
    found = suspects(net, usual, (x, y))

    def loss():
        return -np.log(net.predict(x)[np.arange(len(y)), y]).sum()

    whole = loss()
    assert found.tried[0] == 10
    with net.scaled([found.order[0]], found.factor[0]):
        assert found.effect[0] == pytest.approx(1.0 - loss() / whole)
    assert found.effect_low[0] <= found.effect[0] <= found.effect_high[0]


def test_what_a_fault_makes_loud_comes_after_it(usual):
    net, x, y = faulty(14, "scale", 25)
    found = suspects(net, usual, (x, y))
    assert found.found.tolist() == [14]
    assert set(found.because.tolist()) <= {-1, 14}


def test_one_mistake_names_no_unit_and_says_why(usual):
    net, x, y = faulty(5, "scale", 10)
    one, ten = (suspects(net, usual, (x[:n], y[:n])) for n in (1, 10))
    assert one.p_least > one.level
    assert not len(one.found)
    assert "none at the 5 % level, which so few mistakes cannot reach" in repr(one)
    assert one.order[0] == 5
    assert ten.p_least <= ten.p_none < ten.level
    assert "so few" not in repr(ten)


def test_a_table_a_frame_and_a_page_say_the_same(usual):
    pytest.importorskip("pandas")
    net, x, y = faulty(5, "scale")
    found = suspects(net, usual, (x, y))
    frame = found.to_frame()
    assert frame["unit"][0] == "layer1.conv[5]"
    assert len(frame) == len(found)
    assert "layer1.conv[5]" in found.table(1)
    assert found._repr_html_().count("<tr>") == 1 + min(10, len(found))
    assert found.top(3).tolist() == found.ranked[:3].tolist()


def test_wrong_arguments_are_refused(usual):
    net, x, y = faulty(5, "scale")
    for options, what in (({"level": 1.0}, "level"), ({"n_screen": 0}, "n_screen"), ({"batch_size": 0}, "batch_size")):
        with pytest.raises(ValueError, match=what):
            suspects(net, usual, (x, y), **options)
    with pytest.raises(ValueError, match="a label a sample"):
        suspects(net, usual, (x, y[:3]))
    with pytest.raises(ValueError, match="this network's"):
        suspects(Toy(), usual, (x, y))
    bare = Reference(usual.tail, usual.units, 0.9, "all", "sample", "taylor")
    with pytest.raises(ValueError, match="usual mistakes"):
        suspects(net, bare, (x, y))


def test_kept_mistakes_are_drawn_evenly_and_the_same_in_whatever_batches():
    rng = np.random.default_rng(0)
    profiles = np.arange(2000.0)[:, None] * np.ones(3)
    wrong = rng.random(2000) < 0.3
    one, other = UsualMistakes.none(3), UsualMistakes.none(3)
    one.update(profiles, profiles, wrong, np.arange(2000))
    for start in range(0, 2000, 77):
        rows = slice(start, start + 77)
        numbers = np.arange(2000)[rows]
        if other.wants(numbers):
            other.update(profiles[rows], profiles[rows], wrong[rows], numbers)
    assert np.array_equal(one.profiles, other.profiles)
    kept = one.profiles[:, 0].astype(int)
    assert len(kept) == len(set(kept)) == KEPT
    assert wrong[kept].all()
    assert 400 <= np.count_nonzero(kept < 1000) * 2000 // KEPT <= 1600


@pytest.mark.parametrize("few", [0.004, 0.02, 0.3])
def test_what_parts_keep_joined_is_what_the_whole_keeps(few):
    rng = np.random.default_rng(1)
    profiles = rng.random((2000, 3))
    wrong = rng.random(2000) < few
    whole, parts = UsualMistakes.none(3), [UsualMistakes.none(3) for _ in range(4)]
    whole.update(profiles, profiles, wrong, np.arange(2000))
    for i, part in enumerate(parts):
        part.update(profiles[i::4], profiles[i::4], wrong[i::4], np.arange(i, 2000, 4))
    for part in parts[1:]:
        parts[0].merge(part)
    assert np.array_equal(parts[0].profiles, whole.profiles)


def test_where_mistakes_are_few_the_least_sure_right_samples_stand_in():
    profiles = np.arange(100.0)[:, None] * np.ones(2)
    kept = UsualMistakes.none(2)
    kept.update(profiles, profiles, np.arange(100) < 5, np.arange(100))
    assert sorted(kept.profiles[:5, 0]) == [0, 1, 2, 3, 4]
    assert kept.profiles[5:, 0].tolist() == list(range(99, 72, -1))
