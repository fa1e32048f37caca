"""Calibration: one pass gives what all profiles at once would have given, also when it is killed on the way."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from evtkit import TailSketch, fit_tail
from evtkit.saliency import Batches, Reference, calibrate
from evtkit.saliency.toy import Toy, samples

FIELDS = ("threshold", "xi", "sigma", "n", "n_excess", "status", "mean_excess", "loglik", "largest")


def same(a, b, moments=True):
    return all(np.array_equal(getattr(a.tail, f), getattr(b.tail, f), equal_nan=True) for f in FIELDS) and (
        not moments or (np.array_equal(a.tail.mean, b.tail.mean) and np.array_equal(a.tail.std, b.tail.std))
    )


@pytest.mark.parametrize("quantile", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_fitting_all_profiles_at_once(quantile, dtype):
    net, (x, y) = Toy(dtype=dtype), samples(500)
    reference = calibrate(net, Batches(x.astype(dtype), y, 64), quantile=quantile, normalize=None, progress=False)
    profiles = net.profile(x.astype(dtype), y).astype(dtype)
    oracle = fit_tail(profiles, quantile=quantile)
    np.testing.assert_allclose(reference.tail.xi, oracle.xi, rtol=1e-6)
    np.testing.assert_allclose(reference.tail.threshold, np.sort(profiles, axis=0)[int(quantile * 500)], rtol=1e-6)
    np.testing.assert_allclose(reference.tail.mean, profiles.mean(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(reference.tail.std, profiles.std(axis=0, ddof=1, dtype=float), rtol=1e-6)


class Spoilt(Toy):
    """One unit is far from its usual size in the samples whose first number is largest."""

    def profile(self, x, y):
        profiles = super().profile(x, y)
        profiles[x[:, 0] > 2.4, 3] += 100.0
        return profiles


@pytest.mark.parametrize("kind", [Toy, Spoilt])
def test_by_default_tails_are_those_of_fit_tail(kind):
    net, (x, y) = kind(), samples(1000)
    reference = calibrate(net, Batches(x, y, 64), normalize=None, progress=False)
    oracle = fit_tail(net.profile(x, y))
    for field in ("threshold", "n_excess", "n", "left_out"):
        np.testing.assert_array_equal(getattr(reference.tail, field), getattr(oracle, field))
    np.testing.assert_allclose(reference.tail.xi, oracle.xi, rtol=1e-6)
    assert (reference.quantile, reference.n_samples) == (None, 1000)


def test_gross_outliers_of_a_unit_do_not_hide_the_next_and_are_said(tmp_path):
    (x, y), path = samples(1000), tmp_path / "reference.npz"
    usual, spoilt = (calibrate(kind(), Batches(x, y), normalize=None, progress=False) for kind in (Toy, Spoilt))
    left_out = spoilt.tail.left_out
    assert 0 < left_out[3] == np.count_nonzero(x[:, 0] > 2.4) == left_out.sum() < 20
    assert "left out of 1 unit)" in repr(spoilt)
    assert "left out" not in repr(usual)
    far = np.nan_to_num(usual.tail.isf(1e-5))
    np.testing.assert_allclose(spoilt.tail.logsf(far), usual.tail.logsf(far), rtol=0.1)
    spoilt.save(path)
    again = Reference.load(path)
    assert (again.quantile, again.n_samples, repr(again)) == (None, 1000, repr(spoilt))


@pytest.mark.parametrize("size", [1, 7, 499, 500])
def test_batch_size_does_not_change_the_tails(size):
    net, (x, y) = Toy(), samples(500)
    one, other = (calibrate(net, Batches(x, y, s), progress=False) for s in (500, size))
    np.testing.assert_allclose(one.tail.xi, other.tail.xi, rtol=1e-9)
    profile = net.profile(x[:5], y[:5])
    assert np.array_equal(one.rank(profile).order, other.rank(profile).order)


def test_only_correct_samples_are_used_if_so_asked():
    net, (x, y) = Toy(), samples(500)
    right = net.predict(x).argmax(1) == y
    reference = calibrate(net, Batches(x, y, 64), which="correct", normalize=None, progress=False)
    assert (reference.n_seen, reference.n_samples) == (500, right.sum())
    oracle = fit_tail(net.profile(x[right], y[right]))
    np.testing.assert_allclose(reference.tail.threshold, oracle.threshold, rtol=1e-12)


def test_profiles_are_normalized_unless_it_is_said():
    net, batches = Toy(), Batches(*samples(300), 64)
    usual = calibrate(net, batches, progress=False)
    assert usual.normalize == "sample"
    assert same(usual, calibrate(net, batches, normalize="sample", progress=False))
    plain = calibrate(net, batches, normalize=None, progress=False)
    assert plain.normalize is None
    assert not same(usual, plain)


def test_normalized_profiles_do_not_know_the_size_of_the_loss():
    net, (x, y) = Toy(), samples(500)
    reference = calibrate(net, Batches(x, y, 64), normalize="sample", progress=False)
    profiles = net.profile(x, y)
    oracle = fit_tail(profiles / np.maximum(profiles.mean(axis=1, keepdims=True), 1e-300))
    np.testing.assert_allclose(reference.tail.threshold, oracle.threshold, rtol=1e-12)
    assert np.array_equal(reference.rank(profiles[3]).order, reference.rank(1e6 * profiles[3]).order)


def test_batches_may_be_a_list_a_generator_or_a_loader():
    net, batches = Toy(), Batches(*samples(300), 50)

    class Loader:
        dataset = range(300)

        def __iter__(self):
            return ([x, y] for x, y in batches)

    expected = calibrate(net, batches, progress=False)
    assert same(expected, calibrate(net, list(batches), progress=False))
    assert same(expected, calibrate(net, (b for b in batches), n_samples=300, progress=False))
    assert same(expected, calibrate(net, Loader(), progress=False))
    bounded = calibrate(net, (b for b in batches), n_samples=1000, progress=False)  # an upper bound keeps more
    np.testing.assert_array_equal(expected.tail.xi, bounded.tail.xi)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_interrupted_and_resumed_gives_the_same_bits(tmp_path, stop):
    net, batches = Toy(), Batches(*samples(500), 50)
    expected = calibrate(net, batches, progress=False)

    def failing():
        for number, batch in enumerate(batches):
            if number == stop:
                raise RuntimeError("power cut")
            yield batch

    path = tmp_path / "state.npz"
    with pytest.raises(RuntimeError, match="power cut"):
        calibrate(net, failing(), n_samples=500, checkpoint=path, checkpoint_every=0, progress=False)
    net.profiled = 0
    assert same(expected, calibrate(net, batches, checkpoint=path, checkpoint_every=0, progress=False))
    assert net.profiled == 500 - 50 * stop
    assert same(expected, calibrate(net, batches, checkpoint=path, progress=False))  # done: nothing is computed again
    assert net.profiled == 500 - 50 * stop
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


CHILD = """
import time, sys
from evtkit.saliency.toy import Toy, samples
from evtkit.saliency import Batches, calibrate
class Slow(Toy):
    def profile(self, x, y):
        time.sleep(0.01)
        return super().profile(x, y)
batches = Batches(*samples(1500), 10)
calibrate(Slow(), batches, checkpoint=sys.argv[1], checkpoint_every=0, progress=False).save(sys.argv[2])
"""


def test_killed_at_any_moment_and_started_again_gives_the_same_bits(tmp_path):
    expected = calibrate(Toy(), Batches(*samples(1500), 10), progress=False)  # compiles what the children then load
    state, result = tmp_path / "state.npz", tmp_path / "reference.npz"
    command = [sys.executable, "-c", CHILD, str(state), str(result)]
    kills = 0
    for wait in (0.05, 0.31, 0.6):
        process = subprocess.Popen(command)
        written = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > written):
            time.sleep(0.01)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if kills == 3:
            break
    assert kills >= 2
    assert not result.exists()
    subprocess.run(command, check=True)
    assert same(expected, Reference.load(result))


def checkpoint_of(tmp_path, net, batches, **options):
    path = tmp_path / "state.npz"
    calibrate(net, batches, checkpoint=path, progress=False, **options)
    return path


@pytest.mark.parametrize(
    ("net", "batches", "options", "message"),
    [
        (Toy(), Batches(*samples(200), 50), {"quantile": 0.8}, "made with .*0.8.* got .*None"),
        (Toy(seed=1), Batches(*samples(200), 50), {}, "weights, got others"),
        (Toy(hidden=9), Batches(*samples(200), 50), {}, "units, got others"),
        (Toy(), Batches(*samples(200, seed=2), 50), {}, "got other labels or sizes"),
        (Toy(), Batches(*samples(200), 40), {}, "got other labels or sizes"),
        (Toy(), Batches(*samples(200), 50)[:3], {"n_samples": 200}, "behind the checkpoint, 4, got 3"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, net, batches, options, message):
    path = checkpoint_of(tmp_path, Toy(), Batches(*samples(200), 50))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        calibrate(net, batches, checkpoint=path, progress=False, **options)
    assert path.read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(b"a diary")
    with pytest.raises(ValueError, match="not an evtkit file"):
        calibrate(Toy(), Batches(*samples(100)), checkpoint=path, progress=False)
    assert path.read_bytes() == b"a diary"


class Broken(Toy):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def profile(self, x, y):
        return self.change(super().profile(x, y))


@pytest.mark.parametrize(
    ("net", "batches", "options", "message"),
    [
        (Toy(), Batches(*samples(50)), {"quantile": 1.0}, "quantile must .*got 1.0"),
        (Toy(), Batches(*samples(50)), {"quantile": float("nan")}, "quantile must .*got nan"),
        (Toy(), Batches(*samples(50)), {"which": "wrong"}, "which must .*got 'wrong'"),
        (Toy(), Batches(*samples(50)), {"normalize": "batch"}, "normalize must .*got 'batch'"),
        (Toy(), Batches(*samples(50)), {"method": "magic"}, "method must .*got 'magic'"),
        (Toy(), Batches(*samples(50)), {"checkpoint_every": -1}, "checkpoint_every must .*got -1"),
        (Toy(), Batches(*samples(50)), {"n_samples": 1}, "n_samples must .*got 1"),
        (Toy(), Batches(*samples(50)), {"n_samples": 49}, "n_samples = 49, got more"),
        (Toy(), (b for b in Batches(*samples(50))), {}, "n_samples= must be given"),
        (Toy(), [samples(50)[0]], {}, "got ndarray for batch 1"),
        (Toy(), [], {}, "got none of 0"),
        (Toy(), Batches(*samples(5)), {"quantile": 0.9}, "leaves no excess|quantile"),
        (Broken(lambda p: p[:, 1:]), Batches(*samples(50)), {}, r"must have shape \(50, 12\)"),
        (Broken(lambda p: np.where(p > 0, np.nan, p)), Batches(*samples(50)), {}, "finite"),
        (Broken(lambda p: np.where(p > 0, np.nan, p)), Batches(*samples(50)), {"normalize": None}, "finite"),
        (Broken(lambda p: np.where(p > 1, np.inf, p)), Batches(*samples(50)), {}, "finite"),
    ],
)
def test_bad_input_is_refused(net, batches, options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(net, batches, progress=False, **options)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_model_may_use_its_memory_again(threads, monkeypatch):
    monkeypatch.setenv("EVTKIT_NUM_THREADS", threads)

    class Thrifty(Toy):
        memory = np.empty((50, 12))

        def profile(self, x, y):
            self.memory[:] = super().profile(x, y)
            return self.memory

    batches = Batches(*samples(500), 50)
    for normalize in (None, "sample"):
        options = {"normalize": normalize, "progress": False}
        assert same(calibrate(Toy(), batches, **options), calibrate(Thrifty(), batches, **options))


def test_the_next_batch_is_profiled_while_the_last_is_sketched(monkeypatch):
    monkeypatch.setenv("EVTKIT_NUM_THREADS", "2")
    profiling = [threading.Event() for _ in range(4)]
    update = TailSketch.update

    class Watched(Toy):
        calls = 0

        def profile(self, x, y):
            if self.calls < len(profiling):
                profiling[self.calls].set()
            self.calls += 1
            return super().profile(x, y)

    def waiting(sketch, block):
        assert next(after).wait(60)  # for ever, if the sketch held up the next batch
        update(sketch, block)

    after = iter([*profiling[1:], profiling[-1]])
    monkeypatch.setattr(TailSketch, "update", waiting)
    one = calibrate(Watched(), Batches(*samples(200), 50), progress=False)
    monkeypatch.undo()
    assert same(one, calibrate(Toy(), Batches(*samples(200), 50), progress=False))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_what_the_sketch_refuses_is_raised(threads, monkeypatch):
    monkeypatch.setenv("EVTKIT_NUM_THREADS", threads)

    class Broken(Toy):
        def profile(self, x, y):
            return np.full_like(super().profile(x, y), np.nan)

    with pytest.raises(ValueError, match="finite"):
        calibrate(Broken(), Batches(*samples(200), 200), normalize=None, progress=False)
