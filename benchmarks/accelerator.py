"""What profiles, calibration and finding cause cost on an accelerator: ratios to a plain training step, in one process.

    python benchmarks/accelerator.py [--repeats 7] [--images 50000] [--only WHAT]

ResNet-50 at 224×224, batch 64, in float32 and under bfloat16 autocast: time and peak memory of the device by each
reduction beside the plain step (forward and backward, gradients of all weights); how often one warm batch makes the
processor wait for the device; a calibration from images in the processor's memory, sketch and fit included; finding
suspects among the units from 16 mistakes, beside profiling the same mistakes. Then the networks of
`profile_networks.py`, eight times their batch. Every round times all candidates in turn; printed are medians over
rounds. The images are noise, which costs what pictures cost. Where there is no CUDA device it says so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import networks
from evtkit_torch import TorchModel
from profile_networks import FLOOR, REDUCTIONS, torch_candidates, torch_networks

from evtkit.saliency import calibrate, suspects

Candidate = Callable[[], object]
SETTINGS = (("float32", None), ("bfloat16 autocast", torch.bfloat16))
WORKSPACE = 1024.0


def compare(candidates: dict[str, Candidate], repeats: int) -> dict[str, list[float]]:
    """Seconds of every candidate in every round, after two rounds of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 2):
        for name, run in candidates.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            torch.cuda.synchronize()
            if turn > 1:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak(run: Candidate) -> float:
    """MiB of the device that a warm run needs, beyond what is there before it."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def waits(run: Candidate) -> str:
    """How often one run makes the processor wait for the device, and how often it starts work there."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    counts = {event.key: event.count for event in seen.key_averages()}
    waited = counts.get("cudaStreamSynchronize", 0) + counts.get("cudaEventSynchronize", 0)
    started = sum(count for name, count in counts.items() if "LaunchKernel" in name)
    return f"waits for the device {waited}, kernels started {started}"


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 3, 224, 224, device="cuda"), torch.randint(0, 1000, (size,), device="cuda")


def profiles(repeats: int) -> None:
    """ResNet-50, each reduction beside the plain step."""
    for name, setting in SETTINGS:
        model = networks.resnet50().cuda()
        x, y = batch_of(64)

        def step(model: nn.Module = model, x: Tensor = x, y: Tensor = y, setting: torch.dtype | None = setting) -> None:
            model.zero_grad()
            with torch.autocast("cuda", setting, enabled=setting is not None):
                loss = functional.cross_entropy(model(x), y)
            loss.backward()

        candidates: dict[str, Candidate] = {"plain forward + backward": step}
        for reduction in REDUCTIONS:
            net = TorchModel(model, autocast=setting, max_workspace_mib=WORKSPACE, reduction=reduction)  # type: ignore[arg-type]
            candidates[f"evtkit, {reduction}"] = lambda net=net, x=x, y=y: net.profile(x, y)  # type: ignore[misc]
        print(f"ResNet-50 at 224×224, batch {len(x)}, {name}")
        seconds = compare(candidates, repeats)
        base = seconds["plain forward + backward"]
        for way, times in seconds.items():
            ratios = sorted(t / b for t, b in zip(times, base, strict=True))
            median = statistics.median(times)
            memory = peak(candidates[way])
            print(
                f"  {way:26s} {statistics.median(ratios):5.2f} × plain   (rounds {ratios[0]:.2f} to {ratios[-1]:.2f}; "
                f"median {1e3 * median:.0f} ms, {len(x) / median:.0f} images/s; memory {memory:.0f} MiB)"
            )
        for way, run in candidates.items():
            print(f"  {way:26s} {waits(run)}", flush=True)
        model.zero_grad()


class Images:
    """So many images, from a few batches in page-locked memory that come round and round."""

    def __init__(self, n: int, size: int) -> None:
        self.n_samples, self.size = n, size
        generator = torch.Generator().manual_seed(0)
        self.x = [torch.randn(size, 3, 224, 224, generator=generator).pin_memory() for _ in range(8)]
        self.y = torch.randint(0, 1000, (n,), generator=generator)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number, labels in enumerate(self.y.split(self.size)):
            yield self.x[number % len(self.x)][: len(labels)], labels


def calibration(images: int) -> None:
    for name, setting in SETTINGS:
        net = TorchModel(networks.resnet50().cuda(), autocast=setting, max_workspace_mib=WORKSPACE)
        samples = Images(images, 64)
        calibrate(net, Images(256, 64), progress=False)  # compiles, and finds the samples in every layer
        start = time.perf_counter()
        reference = calibrate(net, samples, progress=False)
        took = time.perf_counter() - start
        print(
            f"calibrate, {images:,} images, ResNet-50, {len(reference.units):,} units, {name}: {took:.1f} s, "
            f"{images / took:.0f} images/s",
            flush=True,
        )


def finding() -> None:
    net = TorchModel(networks.resnet50().cuda(), max_workspace_mib=WORKSPACE)
    reference = calibrate(net, Images(512, 64), progress=False)
    x, y = batch_of(16)
    net.profile(x, y)
    suspects(net, reference, (x, y))
    candidates: dict[str, Candidate] = {
        "profile": lambda: net.profile(x, y),
        "suspects": lambda: suspects(net, reference, (x, y)),
    }
    seconds = compare(candidates, 3)
    profile, found = (statistics.median(seconds[way]) for way in candidates)
    print(f"suspects from 16 mistakes, ResNet-50: {found:.2f} s, {found / profile:.1f} × profiling them", flush=True)


def several(repeats: int) -> None:
    """The networks of `profile_networks.py` on the device."""
    print("float32, eight times the batch of profile_networks.py, × plain step: median (least to most)")

    def moved(build: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        model, x = build()
        many = {k: v.repeat(8, 1, *[1] * (v.dim() - 2)) for k, v in x.items()} if isinstance(x, dict) else None
        if many is not None:
            return model.cuda(), {k: v.cuda() for k, v in many.items()}
        return model.cuda(), x.repeat(8, 1, 1, 1).cuda()

    for name, build in torch_networks().items():
        try:
            runs = torch_candidates(lambda build=build: moved(build), ("plain", FLOOR, *REDUCTIONS))  # type: ignore[misc]
        except ImportError as error:
            print(f"  {name:16s} not run ({error})")
            continue
        found = compare(runs, repeats)
        cells = []
        for way in (FLOOR, *REDUCTIONS):
            ratios = sorted(own / base for own, base in zip(found[way], found["plain"], strict=True))
            cells.append(f"{way} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        print(
            f"  {name:16s} plain {1e3 * statistics.median(found['plain']):5.1f} ms   " + "   ".join(cells), flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--only", choices=("profiles", "calibration", "suspects", "several"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    if not torch.cuda.is_available():
        print("accelerator: not run (no CUDA device)")
        return
    print(f"{date.today()}, {torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    steps: dict[str, Callable[[], None]] = {
        "profiles": lambda: profiles(options.repeats),
        "several": lambda: several(options.repeats),
        "suspects": finding,
        "calibration": lambda: calibration(options.images),
    }
    for name, run in steps.items():
        if options.only in (None, name):
            run()


if __name__ == "__main__":
    main()
