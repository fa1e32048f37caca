"""Per-sample profiles in Keras on TensorFlow against the alternatives: ratios in one process, memory against its bound.

    python benchmarks/profile_keras.py [--threads 1] [--repeats 7] [--skip-map]

CPU: ResNet-18 at 32×32 (first convolution 3×3, no pooling after it), batch 32. GPU, where there is one: ResNet-50 at
224×224, batch 64. Every round times all candidates in turn, so that a slow moment of the machine hits them alike;
printed are the medians over rounds of the ratio to the same round's plain training pass (forward and backward, weight
gradients included), all of them traced beforehand. ``tf.vectorized_map`` falls back to a loop for the gradients of
convolutions, and is timed in fewer rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import keras
import keras_networks
import numpy as np
import tensorflow as tf
from evtkit_keras import KerasModel

if TYPE_CHECKING:
    from collections.abc import Callable

    Candidate = Callable[[], Any]


def cross_entropy(model: Any, x: Any, y: Any) -> Any:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x, training=False))


def kernels(model: Any) -> list[Any]:
    return [layer.kernel.value for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def plain(model: Any, x: Any, y: Any) -> Candidate:
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def run() -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = tf.reduce_mean(cross_entropy(model, x, y))
        return tape.gradient(loss, weights)

    return run


def batch_of_one_loop(model: Any, x: Any, y: Any) -> Candidate:
    weights = kernels(model)

    @tf.function(autograph=False)
    def one(x: Any, y: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = tf.reduce_sum(cross_entropy(model, x, y))
        return tf.concat([tf.reduce_mean(tf.abs(g), (0, 1, 2)) for g in tape.gradient(loss, weights)], 0)

    return lambda: tf.stack([one(x[i : i + 1], y[i : i + 1]) for i in range(len(x))])


def vectorized_map(model: Any, x: Any, y: Any) -> Candidate:
    weights = kernels(model)

    def one(pair: tuple[Any, Any]) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = tf.reduce_sum(cross_entropy(model, pair[0][None], pair[1][None]))
        return tf.concat([tf.reduce_mean(tf.abs(g), (0, 1, 2)) for g in tape.gradient(loss, weights)], 0)

    return tf.function(lambda: tf.vectorized_map(one, (x, y)), autograph=False)


def compare(candidates: dict[str, Candidate], repeats: int, few: dict[str, int]) -> dict[str, list[float]]:
    """Seconds of every candidate in every round that it takes part in."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats):
        for name, run in candidates.items():
            if turn < few.get(name, repeats):
                start = time.perf_counter()
                finished(run())
                seconds[name].append(time.perf_counter() - start)
    return seconds


def finished(result: Any) -> None:
    """Wait for what was computed, on whatever device."""
    for tensor in tf.nest.flatten(result):
        np.asarray(tensor).ravel()[:1]


def report(seconds: dict[str, list[float]], batch: int) -> None:
    base = seconds["plain forward + backward"]
    for name, times in seconds.items():
        ratios = sorted(t / b for t, b in zip(times, base, strict=False))
        median = statistics.median(times)
        print(
            f"  {name:28s} {statistics.median(ratios):6.2f} × plain   (rounds {ratios[0]:.2f} to {ratios[-1]:.2f};"
            f" median {1e3 * median:6.0f} ms, {batch / median:6.1f} images/s)"
        )


def cpu(repeats: int, threads: int, skip_map: bool) -> None:
    model, x, y = small_problem()
    net = KerasModel(model, reduction="mean-abs")
    print(f"CPU, {threads} threads, ResNet-18 at 32×32, batch 32\n  {net}")
    candidates = {
        "plain forward + backward": plain(model, x, y),
        "evtkit profile": lambda: net.profile(x, y),
        "batch-1 loop": batch_of_one_loop(model, x, y),
    }
    if not skip_map:
        candidates["tf.vectorized_map of grad"] = vectorized_map(model, x, y)
    start = time.perf_counter()
    want = net.profile(x, y)
    print(f"  first profile, with tracing and its check: {time.perf_counter() - start:.1f} s")
    for name, run in candidates.items():
        start = time.perf_counter()
        got = run()  # traced
        elapsed = time.perf_counter() - start
        if name != "plain forward + backward":
            worst = float(np.abs(np.asarray(got) - want).max() / want.max())
            print(f"  {name}, first call {elapsed:.1f} s, agrees to {worst:.1e} of the largest entry")
        finished(run())
    report(compare(candidates, repeats, {"tf.vectorized_map of grad": 2}), len(x))


def small_problem() -> tuple[Any, Any, Any]:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(32, 32, 32, 3)), tf.float32)
    return keras_networks.resnet18(size=32), x, tf.constant(rng.integers(0, 10, 32))


def gpu(repeats: int) -> None:
    if not tf.config.list_physical_devices("GPU"):
        print("GPU, ResNet-50 at 224×224, batch 64: not run (no GPU)")
        return
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        model = keras_networks.resnet50(size=224)
        x = tf.random.normal((64, 224, 224, 3))
        y = tf.random.uniform((64,), 0, 1000, tf.int64)
        net = KerasModel(model, max_workspace_mib=1024, reduction="mean-abs")
        print(f"GPU, ResNet-50 at 224×224, batch 64, {policy}")
        candidates = {"plain forward + backward": plain(model, x, y), "evtkit profile": lambda: net.profile(x, y)}  # noqa: B023
        for run in candidates.values():
            finished(run())
        report(compare(candidates, repeats, {}), 64)


def memory() -> None:
    """Peak memory of a profile beyond that of a plain training pass, for several bounds."""
    print("Peak memory beyond a plain training pass (a process each)")
    base = peak_of("plain")
    for bound in (2, 8, 32):
        print(f"  bound {bound:4d} MiB: {(peak_of(str(bound)) - base) / 1024:7.1f} MiB")


def peak_of(what: str) -> int:
    """Highest resident memory of a process that does one thing, in KiB: the median of three, for allocators vary."""
    command = [sys.executable, __file__, "--child", what]
    return sorted(int(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3))[1]


def child(what: str) -> None:
    model, x, y = small_problem()
    if what == "plain":
        run = plain(model, x, y)
    else:
        net = KerasModel(model, max_workspace_mib=float(what), reduction="mean-abs", verify=False)
        run = lambda: net.profile(x, y)  # noqa: E731
    for _ in range(3):
        finished(run())
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--skip-map", action="store_true", help="leave out tf.vectorized_map, which is slow to trace")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    if options.child:
        child(options.child)
        return
    cpu(options.repeats, options.threads, options.skip_map)
    memory()
    gpu(options.repeats)


if __name__ == "__main__":
    main()
