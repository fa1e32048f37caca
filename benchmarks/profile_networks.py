"""Profiles of several networks against a plain training step: time, and peak memory.

    python benchmarks/profile_networks.py [--framework torch|keras] [--threads 1] [--repeats 5] [--only NAME] [--memory]

Every round times the plain step (forward and backward, gradients of all weights) and a profile by each reduction in
turn, in one process, so that a slow moment of the machine hits them alike; printed are the medians of the ratios to the
same round's plain step. On one thread it is the processor's time, which other programs change less; on more it is the
clock's. In PyTorch, "passes alone" are the same two passes with all weights frozen and nothing captured: the least that
a profile can take with PyTorch's own operations. Units are filters, rows and channels: every weight but biases and
embeddings. With ``--memory``, a process for each of the plain step and the Taylor profile says by how much its memory
grew at most, beyond the model and its data.
ConvNeXt, ViT, BERT and MobileNetV2 in PyTorch are those of `transformers`; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = ("filters", "rows", "channels")
REDUCTIONS = ("taylor", "mean-abs", "l2")
FLOOR = "passes alone"


def torch_networks() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """By name, from nothing to a network and a batch."""
    import networks
    import torch

    def hugging(family: str, size: int, batch: int, **options: Any) -> tuple[Any, Any]:
        import transformers

        config = getattr(transformers, f"{family}Config")(num_labels=10, **options)
        text = family == "Bert"
        kind = "SequenceClassification" if text else "ImageClassification"
        model = getattr(transformers, f"{family}For{kind}")(config).eval()
        for module in model.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):  # of weights so small that numbers underflow
                module.reset_parameters()
        if text:
            return model, {"input_ids": torch.randint(1, 1000, (batch, size))}
        return model, {"pixel_values": torch.randn(batch, 3, size, size)}

    encoder = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    return {
        "ResNet-18@32": lambda: (networks.resnet18(), torch.randn(16, 3, 32, 32)),
        "ResNet-50@64": lambda: (networks.resnet50(), torch.randn(8, 3, 64, 64)),
        "MobileNetV2@96": lambda: hugging("MobileNetV2", 96, 8, image_size=96),
        "ConvNeXt@64": lambda: hugging("ConvNext", 64, 8, hidden_sizes=[48, 96, 192, 384], depths=[2, 2, 6, 2]),
        "ViT@64": lambda: hugging("ViT", 64, 16, image_size=64, patch_size=8, **encoder),
        "BERT-small": lambda: hugging("Bert", 64, 8, vocab_size=1000, **encoder),
    }


def torch_candidates(build: Callable[[], tuple[Any, Any]], which: tuple[str, ...]) -> dict[str, Callable[[], Any]]:
    import torch
    from evtkit_torch import TorchModel
    from torch.nn import functional

    torch.manual_seed(0)
    model, x = build()
    size = len(next(iter(x.values())) if isinstance(x, dict) else x)
    y = torch.arange(size, device=next(model.parameters()).device) % 10

    def plain() -> None:
        model.zero_grad()
        output = model(**x) if isinstance(x, dict) else model(x)
        functional.cross_entropy(getattr(output, "logits", output), y).backward()

    def passes() -> None:
        model.requires_grad_(False)
        first = next(m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Embedding)))
        hook = first.register_forward_hook(lambda module, given, output: output.requires_grad_())
        output = model(**x) if isinstance(x, dict) else model(x)
        functional.cross_entropy(getattr(output, "logits", output), y).backward()
        hook.remove()
        model.requires_grad_(True)

    def profile(reduction: Any) -> Callable[[], Any]:
        net = TorchModel(model, units=UNITS, reduction=reduction)
        net.profile(x, y)
        if net.coverage.slow:
            slow = net.coverage.slow
            print(f"  {reduction}: {len(slow)} weights are taken one sample at a time: {slow[0]}")
        return lambda: net.profile(x, y)

    own = {"plain": plain, FLOOR: passes}
    return {name: own[name] if name in own else profile(name) for name in which}


def keras_networks_() -> dict[str, Callable[[], tuple[Any, Any]]]:
    import keras
    import keras_networks

    def application(name: str, size: int, batch: int, **options: Any) -> tuple[Any, Any]:
        make = getattr(keras.applications, name)
        model = make(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None, **options)
        return model, np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype("float32")

    def encoder() -> tuple[Any, Any]:
        layers = keras.layers
        x = inputs = keras.Input((64,), dtype="int32")
        x = layers.Embedding(1000, 256)(x)
        for _ in range(4):
            x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 64)(x, x))
            x = layers.LayerNormalization()(x + layers.Dense(256)(layers.Dense(1024, activation="gelu")(x)))
        model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))
        return model, np.random.default_rng(0).integers(0, 1000, (8, 64)).astype("int32")

    def resnet18() -> tuple[Any, Any]:
        return keras_networks.resnet18(size=32), np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype("float32")

    return {
        "ResNet-18@32": resnet18,
        "ResNet50@64": lambda: application("ResNet50", 64, 8),
        "MobileNetV2@96": lambda: application("MobileNetV2", 96, 8),
        "Transformer": encoder,
    }


def keras_candidates(build: Callable[[], tuple[Any, Any]], which: tuple[str, ...]) -> dict[str, Callable[[], Any]]:
    import keras
    import tensorflow as tf
    from evtkit_keras import KerasModel

    keras.utils.set_random_seed(0)
    model, x = build()
    x, y = tf.constant(x), np.arange(len(x)) % 10
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def run() -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits = model(x, training=False)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        return tape.gradient(loss, weights)

    def plain() -> None:
        for slope in run():
            tf.convert_to_tensor(slope).numpy()[:1]

    def profile(reduction: Any) -> Callable[[], Any]:
        net = KerasModel(model, units=UNITS, reduction=reduction)
        return lambda: net.profile(x, y)

    return {name: plain if name == "plain" else profile(name) for name in which}


def compare(
    candidates: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, run in candidates.items():
            start = clock()
            run()
            if turn:  # the first one finds out, traces and checks
                seconds[name].append(clock() - start)
    return seconds


def resident(what: str) -> int:
    """Memory of this process in KiB: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what)))


def peak_of(arguments: list[str]) -> float:
    """MiB that a process of its own needed, the median of three."""
    command = [sys.executable, __file__, *arguments]
    found = [int(subprocess.run(command, capture_output=True, check=True).stdout.split()[-1]) for _ in range(3)]
    return sorted(found)[1] / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--taylor", action="store_true", help="leave the other reductions out")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.framework == "torch":
        import torch

        torch.set_num_threads(options.threads)
        builds, candidates = torch_networks(), torch_candidates
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
        builds, candidates = keras_networks_(), keras_candidates
    if options.child:
        (run,) = candidates(builds[options.only], (options.child,)).values()
        before = resident("VmRSS")
        for _ in range(3):
            run()
        print(resident("VmHWM") - before)
        return
    reductions = REDUCTIONS[:1] if options.taylor else REDUCTIONS
    reductions = (FLOOR, *reductions) if options.framework == "torch" else reductions
    clock = time.process_time if options.threads == 1 else time.perf_counter
    how = f"median (least to most) of {options.repeats} rounds"
    print(f"{options.framework}, {options.threads} threads, × plain step: {how}")
    for name, build in builds.items():
        if options.only not in name:
            continue
        try:
            runs = candidates(build, ("plain", *reductions))
        except ImportError as error:
            print(f"  {name:16s} not run ({error}): pip install 'evtkit[architectures]'")
            continue
        found = compare(runs, options.repeats, clock)
        cells = []
        for reduction in reductions:
            ratios = sorted(own / base for own, base in zip(found[reduction], found["plain"], strict=True))
            cells.append(f"{reduction} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        line = f"  {name:16s} plain {1e3 * statistics.median(found['plain']):6.0f} ms   " + "   ".join(cells)
        if options.memory:
            given = ["--framework", options.framework, "--threads", str(options.threads), "--only", name]
            plain, taylor = (peak_of([*given, "--child", what]) for what in ("plain", "taylor"))
            line += f"   memory: plain {plain:.0f} MiB, Taylor {taylor:.0f} MiB"
        print(line, flush=True)


if __name__ == "__main__":
    main()
