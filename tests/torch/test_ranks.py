"""calibrate over torch.distributed: real processes, whose number never changes the reference that each of them gets."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evtkit.saliency import Reference, calibrate
from evtkit.saliency.ranks import ranks_of

JOB = Path(__file__).with_name("job_of_ranks.py")


def job():
    spec = importlib.util.spec_from_file_location("job_of_ranks", JOB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", str(JOB)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EVTKIT_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(folder)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


SIZES = pytest.mark.parametrize("size", [2, 4])


def assert_same(one: Reference, other: Reference, *, mistakes: bool = True) -> None:
    assert one.n_seen == other.n_seen
    for name in ("threshold", "xi", "sigma", "n", "n_excess", "mean", "std", "largest", "loglik"):
        np.testing.assert_array_equal(getattr(one.tail, name), getattr(other.tail, name), err_msg=name)
    if mistakes:
        np.testing.assert_array_equal(one.mistakes, other.mistakes)


@SIZES
def test_every_rank_gets_the_reference_of_all_samples_in_one_process(folder, size):
    module = job()
    batches = module.batches(*module.samples())
    whole = calibrate(module.Table(), batches, progress=False)
    correct = calibrate(module.Table(), batches, which="correct", progress=False)
    assert len(whole.mistakes) == 128
    for rank in range(size):
        for name in ("dealt", "skewed", "resumed", "shuffled", "correct"):
            found = Reference.load(folder / f"{name}-{rank}of{size}.npz")
            assert_same(found, correct if name == "correct" else whole, mistakes=name != "shuffled")


def test_a_calibration_goes_on_with_another_number_of_ranks(folder):
    module = job()
    net, batches = module.Table(), module.batches(*module.samples())
    whole = calibrate(net, batches, progress=False)
    for rank in range(2):
        assert_same(Reference.load(folder / f"elastic-{rank}of2.npz"), whole)
        assert "same labels in the same places" in (folder / f"said-{rank}of2.txt").read_text()
    profiled = []
    plain, net.profile = net.profile, lambda x, y: profiled.append(len(x)) or plain(x, y)
    assert_same(calibrate(net, batches, progress=False, checkpoint=folder / "single.npz"), whole)
    assert 0 < sum(profiled) < 0.9 * module.N  # by one process, from what four had done
    profiled.clear()
    assert_same(calibrate(net, batches, progress=False, checkpoint=folder / "single.npz"), whole)
    assert not profiled


@SIZES
def test_shares_that_are_none_are_refused_on_every_rank(folder, size):
    for rank in range(size):
        text = (folder / f"said-{rank}of{size}.txt").read_text()
        said = dict(line.split(": ", 1) for line in text.splitlines())
        assert "the power is off" in said["stopped"]
        assert "own share of the samples, got the same 1003" in said["same"]
        assert "each sample once" in said["padded"]
        assert f"got one of rank {rank} of {size + 1}" in said["sampler"] or "the sampler must be" in said["sampler"]
        assert ("finite" if rank == 0 else "rank 0 of") in said["failed"]
        assert ("quantile" if rank else "rank 1 of") in said["quantile"]


def test_what_is_no_group_is_refused():
    with pytest.raises(ValueError, match=r"process group of torch.distributed, .*got int"):
        ranks_of(3)
