"""Videos and streams watched unit by unit: events at the stated rate, and one where something is disturbed."""

import numpy as np
import pytest
from scipy.signal import lfilter

from evtkit.saliency import Units, UnitWatch, watch
from evtkit.saliency.toy import Toy


class Plain:
    """A network whose saliency is what goes in."""

    def __init__(self, units):
        module, kind = np.full(units, "conv"), np.full(units, "filters")
        self.units = Units(module, kind, np.arange(units), np.ones(units, dtype=np.int64), module)

    def profile(self, x, y):
        assert isinstance(y, str) or len(y) == len(x)
        return np.asarray(x)


def stream(n, units, memory, shared, seed, shape):
    """Autoregressive units that share factors, the observations of a normal law, a heavy or a one-sided one."""
    rng = np.random.default_rng(seed)
    factors = units // 4
    noise = rng.standard_normal((n + 200, factors + units))
    paths = lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise, axis=0)[200:]
    own = np.sqrt(1 - shared) * paths[:, factors:] + np.sqrt(shared) * np.repeat(paths[:, :factors], 4, axis=1)
    return {"normal": own, "heavy": np.sinh(own), "one-sided": np.abs(own) ** 1.5}[shape]


@pytest.mark.parametrize(
    ("memory", "shared", "shape"), [(0.0, 0.0, "normal"), (0.9, 0.5, "heavy"), (0.95, 0.8, "one-sided")]
)
def test_undisturbed_streams_have_events_at_the_stated_rate(memory, shared, shape):
    begun = 0
    for seed in range(3):
        x = stream(9000, 16, memory, shared, seed, shape)
        watched = watch(Plain(16), x[:3000], risk=2e-3)
        begun += sum(not event.is_over for part in np.split(x[3000:], 4) for event in watched.feed(part))
    # 36 are expected; a level found by some 30 clusters is off by a fifth in the mean of three, and counts by a sixth
    assert 10 <= begun <= 75


@pytest.mark.parametrize("side", ["both", "upper", "lower"])
def test_a_disturbance_is_one_event_of_the_units_that_it_is_in(side):
    x = stream(5000, 16, 0.9, 0.5, 7, "normal")
    sign = -1.0 if side == "lower" else 1.0
    x[4300:4340, 3] += 30.0 * sign
    x[4305:4340, 5] += 30.0 * sign
    watched = watch(Plain(16), x[:4000], side=side)
    told = [event for event in watched.feed(x[4000:]) if {"conv[3]", "conv[5]"} & set(event.channels)]
    assert [event.is_over for event in told] == [False, True]
    assert (told[1].start, told[1].end) == (300, 339)
    assert set(told[1].channels) >= {"conv[3]", "conv[5]"}
    assert told[1].first.side == ("lower" if side == "lower" else "upper")


def test_pieces_and_labels_do_not_matter_and_batches_will_do():
    x = stream(3000, 8, 0.8, 0.5, 1, "normal")
    x[2500:2510, 2] = 40.0
    one, two = (
        watch(Plain(8), x[:2000]),
        watch(Plain(8), [(part, np.zeros(len(part))) for part in np.split(x[:2000], 10)]),
    )
    assert one.level == two.level
    assert isinstance(one, UnitWatch)
    whole = one.feed(x[2000:])
    pieces = [event for part in np.array_split(x[2000:], 37) for event in two.feed(part)]
    assert list(map(repr, whole)) == list(map(repr, pieces))
    assert one.frame == two.frame == 1000


def test_a_network_that_is_damaged_while_it_is_watched_begins_an_event_by_the_unit():
    rng = np.random.default_rng(0)
    frames = lfilter([1.0], [1.0, -0.8], rng.normal(size=(6000, 6)), axis=0) * 0.6
    net = Toy(reduction="taylor", dead=0)
    labels = net.predict(frames).argmax(axis=1)
    watched = watch(net, frames[:4000], labels[:4000])
    before = watched.feed(frames[4000:5000], labels[4000:5000])
    net.rows[3][:] *= -5.0
    after = [event for event in watched.feed(frames[5000:5200], labels[5000:5200]) if event.start >= 1000]
    assert sum(not event.is_over for event in before) <= 5
    assert after
    assert after[0].start < 1040


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"risk": 0.0}, "risk must"), ({"side": "left"}, "side must"), ({"normalize": "mean"}, "normalize must"),
        ({"quiet": 0}, "quiet and batch_size must"), ({"x": np.zeros((50, 8))}, "at least 200, got 50"),
        ({"x": np.zeros((500, 8))}, "10 clusters or more"),
    ],
)  # fmt: skip
def test_what_will_not_do_is_refused(options, message):
    x = options.pop("x", stream(400, 8, 0.5, 0.5, 0, "normal"))
    with pytest.raises(ValueError, match=message):
        watch(Plain(8), x, **options)
