"""Per-sample profiles in PyTorch against the alternatives: ratios in one process, memory against its bound.

    python benchmarks/profile_torch.py [--threads 1] [--repeats 7] [--count]

ResNet-18 at 32×32 (first convolution 3×3, no pooling after it), batch 32, on the processor; for an accelerator see
`accelerator.py`. Every round times all candidates in turn, so that a slow moment of the machine hits them alike;
printed are the medians over rounds of the ratio to the same round's plain training pass (forward and backward, weight
gradients included).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import networks
from evtkit_torch import TorchModel

Candidate = Callable[[], object]


def plain(model: nn.Module, x: Tensor, y: Tensor) -> Candidate:
    def run() -> None:
        model.zero_grad()
        functional.cross_entropy(model(x), y).backward()

    return run


def batch_of_one_loop(model: nn.Module, x: Tensor, y: Tensor) -> Candidate:
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]

    def run() -> Tensor:
        rows = []
        for i in range(len(x)):
            loss = functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
            gradients = torch.autograd.grad(loss, weights)
            rows.append(torch.cat([g.abs().mean((1, 2, 3)) for g in gradients]))
        return torch.stack(rows)

    return run


def vmap_of_grad(model: nn.Module, x: Tensor, y: Tensor) -> Candidate:
    names = [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    parameters = dict(model.named_parameters())
    weights = {name: parameters[name].detach() for name in names}
    buffers = dict(model.named_buffers())
    rest = {name: p.detach() for name, p in parameters.items() if name not in weights}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        output = torch.func.functional_call(model, {**weights, **rest, **buffers}, (x[None],))
        return functional.cross_entropy(output, y[None])

    def run() -> Tensor:
        gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, y)
        return torch.cat([g.abs().mean((2, 3, 4)) for g in gradients.values()], 1)

    return run


def opacus_hooks(model: nn.Module, x: Tensor, y: Tensor) -> Candidate | None:
    try:
        from opacus import GradSampleModule
    except ImportError as error:
        print(f"opacus' hooks: not run ({error}); pip install opacus --no-deps")
        return None
    copy = deepcopy(model).train()  # its hooks capture in training mode only; batch norms and the head are left out
    for module in copy.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.Linear)):
            module.eval().requires_grad_(False)
    wrapped = GradSampleModule(copy, strict=False, loss_reduction="sum")
    weights = [module.weight for module in copy.modules() if isinstance(module, nn.Conv2d)]

    def run() -> Tensor:
        wrapped.zero_grad()
        functional.cross_entropy(wrapped(x), y, reduction="sum").backward()
        return torch.cat([weight.grad_sample.abs().mean((2, 3, 4)) for weight in weights], 1)

    return run


def compare(candidates: dict[str, Candidate], repeats: int) -> dict[str, list[float]]:
    """Seconds of every candidate in every round, after one round of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(repeats + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(seconds: dict[str, list[float]], batch: int) -> None:
    base = seconds["plain forward + backward"]
    for name, times in seconds.items():
        ratios = sorted(t / b for t, b in zip(times, base, strict=True))
        median = statistics.median(times)
        print(
            f"  {name:28s} {statistics.median(ratios):6.2f} × plain   (rounds {ratios[0]:.2f} to {ratios[-1]:.2f};"
            f" median {1e3 * median:6.0f} ms, {batch / median:6.1f} images/s)"
        )


def cpu(repeats: int) -> None:
    model = networks.resnet18()
    x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    net, taylor = TorchModel(model, reduction="mean-abs"), TorchModel(model)
    print(f"CPU, {torch.get_num_threads()} threads, ResNet-18 at 32×32, batch 32\n  {net}")
    candidates: dict[str, Candidate] = {
        "plain forward + backward": plain(model, x, y),
        "evtkit profile": lambda: net.profile(x, y),
        "evtkit profile, Taylor": lambda: taylor.profile(x, y),
        "batch-1 loop": batch_of_one_loop(model, x, y),
        "torch.func vmap(grad)": vmap_of_grad(model, x, y),
    }
    hooks = opacus_hooks(model, x, y)
    if hooks is not None:
        candidates["opacus' hooks"] = hooks
    want = torch.as_tensor(net.profile(x, y))
    for name in ("batch-1 loop", "torch.func vmap(grad)", "opacus' hooks"):
        if name in candidates:
            got = candidates[name]()
            assert isinstance(got, Tensor)
            worst = float((got - want).abs().max() / want.max())
            print(f"  {name} agrees to {worst:.1e} of the largest entry")
    report(compare(candidates, repeats), len(x))


def operations() -> None:
    """What one warm batch asks of PyTorch, and what of it an accelerator would have to be waited for."""
    from torch.profiler import ProfilerActivity, profile

    waits = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::copy_")
    model = networks.resnet18()
    x, y = torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))
    print("Operators a warm batch, ResNet-18 at 32×32")
    for reduction in ("taylor", "mean-abs"):
        net = TorchModel(model, reduction=reduction)
        for _ in range(2):
            net.profile(x, y)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            net.profile(x, y)
        counts = {event.key: event.count for event in seen.key_averages()}
        total = sum(count for name, count in counts.items() if name.startswith("aten::"))
        print(f"  {reduction:9s} {total} in all; " + ", ".join(f"{name} {counts.get(name, 0)}" for name in waits))


def memory() -> None:
    """Peak memory of a profile beyond that of the same passes without any weight gradient, for several bounds."""
    print("Peak memory beyond a pass that keeps every layer's input and computes no weight gradient (a process each)")
    base = peak_of("plain")
    layer = 32 * 64 * 32 * 32 * 4 / 2**20
    for bound in (2, 8, 64, 256):
        extra = (peak_of(str(bound)) - base) / 1024
        print(f"  bound {bound:4d} MiB: {extra:7.1f} MiB (the largest layer's activations: {layer:.1f} MiB)")


def peak_of(what: str) -> int:
    """Highest resident memory of a process that does one thing, in KiB: the median of three, for allocators vary."""
    command = [sys.executable, __file__, "--child", what]
    return sorted(int(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3))[1]


def child(what: str) -> None:
    torch.set_num_threads(1)
    model = networks.resnet18()
    x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    if what == "plain":
        first = model[0](x)
        torch.autograd.grad(functional.cross_entropy(model[1:](first), y), first)
    else:
        TorchModel(model, max_workspace_mib=float(what), reduction="mean-abs", verify=False).profile(x, y)
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--count", action="store_true", help="count operators instead")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Full backward hook is firing")  # opacus at the first layer
    torch.manual_seed(0)
    if options.child:
        child(options.child)
        return
    torch.set_num_threads(options.threads)
    if options.count:
        operations()
        return
    cpu(options.repeats)
    memory()


if __name__ == "__main__":
    main()
