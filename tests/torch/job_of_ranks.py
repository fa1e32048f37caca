"""What each rank does in test_ranks.py: every way of sharing samples, its results in files. Started by torchrun."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from evtkit.saliency import calibrate
from evtkit.saliency.units import Units

N = 1003


class Table:
    """A network whose profiles are its samples, to the last bit in whatever batch."""

    units = Units(["conv1"] * 5, ["filters"] * 5, list(range(5)), [9] * 5, ["conv1"] * 5)
    coverage, reduction, task = "all", "mean-abs", "classes"

    def profile(self, x, y):
        return np.asarray(x)

    def predict(self, x):
        return np.eye(3)[(np.asarray(x)[:, 0] > 2.0).astype(int)]

    def unit_norms(self):
        return np.ones(5)


def samples():
    return np.random.default_rng(0).standard_exponential((N, 5)), np.random.default_rng(1).integers(0, 3, N)


def batches(x, y, size=32):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def refused(call) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return "not refused"


def main(folder: Path) -> None:
    """Among all ranks, then among the last two of them."""
    distributed.init_process_group("gloo")
    pair = distributed.new_group([2, 3])
    share(folder, distributed.group.WORLD)
    if distributed.get_rank() >= 2:
        share(folder, pair)
    distributed.barrier()
    distributed.destroy_process_group()


def share(folder: Path, group) -> None:
    rank, size = group.rank(), group.size()
    net, (x, y) = Table(), samples()
    dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    ways = {"progress": False, "group": group}

    def loader(**options):
        return DataLoader(dataset, batch_size=16, sampler=DistributedSampler(dataset, size, rank, **options))

    def save(name, reference):
        reference.save(folder / f"{name}-{rank}of{size}.npz")

    save("dealt", calibrate(net, loader(shuffle=False), **ways))
    save("shuffled", calibrate(net, loader(shuffle=True), **ways))
    cuts = [0, 7, N, N, N]
    save("skewed", calibrate(net, batches(x[cuts[rank] : cuts[rank + 1]], y[cuts[rank] : cuts[rank + 1]]), **ways))
    save("correct", calibrate(net, loader(shuffle=False), which="correct", **ways))

    def stopped(after):
        for number, batch in enumerate(loader(shuffle=False)):
            if number == after:
                raise ValueError("the power is off")
            yield batch

    whole = loader(shuffle=False)
    half = SimpleNamespace(sampler=whole.sampler, batch_size=16, dataset=dataset, __iter__=None)
    half_class = type("Half", (), {**vars(half), "__iter__": lambda _: stopped(3 + rank)})
    path = folder / "state.npz"
    said = {"stopped": refused(lambda: calibrate(net, half_class(), checkpoint=path, checkpoint_every=0.0, **ways))}
    save("resumed", calibrate(net, whole, checkpoint=path, **ways))
    if size == 4:  # half done by four, to be gone on with by two
        for name in ("elastic", "order", "single"):
            refused(lambda name=name: calibrate(net, half_class(), checkpoint=folder / f"{name}.npz",
                                                checkpoint_every=0.0, **ways))  # fmt: skip
    else:
        save("elastic", calibrate(net, whole, checkpoint=folder / "elastic.npz", **ways))
        shuffled = loader(shuffle=True)
        said["order"] = refused(lambda: calibrate(net, shuffled, checkpoint=folder / "order.npz", **ways))
    said["same"] = refused(lambda: calibrate(net, batches(x, y), **ways))
    rows = np.arange(rank, N + 8 * size, size) % N
    repeated = {"dataset": dataset, "batch_size": 16, "sampler": range(N // size + 9)}
    padded = type("Padded", (), {**repeated, "__iter__": lambda _: iter(batches(x[rows], y[rows]))})
    said["padded"] = refused(lambda: calibrate(net, padded(), **ways))
    other = DistributedSampler(dataset, size + 1, rank)
    said["sampler"] = refused(lambda: calibrate(net, DataLoader(dataset, sampler=other), **ways))
    bad = [(x[:5], y[:5])] if rank else [(x[:5] * np.nan, y[:5])]
    said["failed"] = refused(lambda: calibrate(net, bad, **ways))
    said["quantile"] = refused(lambda: calibrate(net, batches(x, y), quantile=2.0 if rank else 0.9, **ways))
    (folder / f"said-{rank}of{size}.txt").write_text("\n".join(f"{k}: {v}" for k, v in said.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # all is written: threads of gloo that still run can abort a process that ends as usual
