"""Profiles of random networks whose rows wander between samples, against a loop of single samples.

    python benchmarks/routers.py [--framework torch|keras] [--networks 120]

Every network routes tokens, or images, by their values: to experts by a mask or by the largest score, sorted, packed
without their padding, as a one-hot product, or with a capacity beyond which tokens are dropped. Sizes, numbers of
experts, reductions and whether the first samples are verified are drawn at random, and every network sees three batches
of one shape. Counted: exact, exact with some layers one sample at a time, refused, and wrong, which must be none.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from evtkit.saliency.adapting import reduce_gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REDUCTIONS = ("taylor", "mean-abs", "l2")
WAYS = ("mask", "largest", "two of them", "sorted", "packed", "one-hot", "capacity", "images")


def torch_network(way: str, width: int, experts: int, seed: int) -> tuple[Any, Any]:
    """A model, and what gives its profiles for a reduction."""
    import torch
    from evtkit_torch import TorchModel
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)

    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            make = (lambda: nn.Conv2d(2, 2, 3, padding=1)) if way == "images" else (lambda: nn.Linear(width, width))
            self.experts = nn.ModuleList(make() for _ in range(experts))
            self.gate = nn.Linear(width, experts)
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(2 if way == "images" else width, 3)

        def forward(self, x: Any) -> Any:
            if way == "images":
                return self._images(x)
            x = self.norm(x)
            n, t, _ = x.shape
            share = self.gate(x).softmax(-1)
            flat, out = x.reshape(n * t, width), torch.zeros_like(x)
            if way == "mask":
                on = x[..., 0] > 0
                out[on] = torch.tanh(self.experts[0](x[on]))
                out[~on] = self.experts[1](x[~on])
            elif way == "largest":
                best, chosen = share.max(-1)
                for number, expert in enumerate(self.experts):
                    here = chosen == number
                    out[here] = best[here][:, None] * torch.tanh(expert(x[here]))
            elif way == "two of them":
                best, chosen = share.reshape(n * t, -1).topk(2, -1)
                total = torch.zeros_like(flat)
                for number, expert in enumerate(self.experts):
                    row, place = torch.where(chosen == number)
                    total.index_add_(0, row, best[row, place][:, None] * torch.tanh(expert(flat[row])))
                out = total.view(n, t, width)
            elif way == "sorted":
                order = flat[:, 0].argsort()
                moved = flat[order]
                for expert in self.experts:
                    moved = torch.tanh(expert(moved))
                out = moved[order.argsort()].view(n, t, width)
            elif way == "packed":
                alive = x[..., 0] > -0.5
                packed = x[alive]
                for expert in self.experts:
                    packed = torch.tanh(expert(packed))
                out[alive] = packed
            elif way == "one-hot":
                hot = nn.functional.one_hot(share.argmax(-1).flatten(), experts).to(x)
                each = torch.stack([torch.tanh(e(flat * hot[:, i : i + 1])) for i, e in enumerate(self.experts)], 1)
                out = (hot[:, :, None] * each).sum(1).view(n, t, width)
            else:  # every expert takes so many tokens of each sample at most
                room = max(1, t // experts)
                for number, expert in enumerate(self.experts):
                    first = share[..., number].topk(room, 1).indices[..., None].expand(-1, -1, width)
                    out = out.scatter_add(1, first, torch.tanh(expert(x.gather(1, first))))
            return self.head(out.mean(1))

        def _images(self, x: Any) -> Any:
            bright = x.mean((1, 2, 3)).argsort()
            moved = x[bright]
            for expert in self.experts:
                moved = torch.tanh(expert(moved))
            return self.head(moved[bright.argsort()].mean((2, 3)))

    model = Router().double().eval()

    def gradients(x: Any, y: Any, names: list[str]) -> Iterator[dict[str, Any]]:
        parameters = [model.get_parameter(name) for name in names]
        for i in range(len(y)):
            score = model(torch.from_numpy(x[i : i + 1]))
            loss = torch.nn.functional.cross_entropy(score, torch.tensor(y[i : i + 1]))
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            yield {
                name: np.zeros(p.shape) if g is None else g.numpy()
                for name, p, g in zip(names, parameters, found, strict=True)
            }

    return lambda **options: TorchModel(model, units=("filters", "rows", "channels"), **options), gradients


def keras_network(way: str, width: int, experts: int, seed: int) -> tuple[Any, Any]:
    import keras
    import tensorflow as tf
    from evtkit_keras import KerasModel

    keras.utils.set_random_seed(seed)
    keras.config.set_floatx("float64")
    layers, ops = keras.layers, keras.ops

    class Router(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            make = (lambda: layers.Conv2D(2, 3, padding="same")) if way == "images" else (lambda: layers.Dense(width))
            self.experts = [make() for _ in range(experts)]
            self.gate, self.norm, self.head = layers.Dense(experts), layers.LayerNormalization(), layers.Dense(3)

        def call(self, x: Any) -> Any:
            if way == "images":
                return self._images(x)
            x = self.norm(x)
            n, t, _ = x.shape
            share = ops.softmax(self.gate(x))
            flat = ops.reshape(x, (n * t, width))
            chosen = tf.argmax(tf.reshape(share, (n * t, experts)), -1, tf.int32)
            if way in ("mask", "largest", "two of them"):
                if way == "mask":
                    chosen = tf.cast(flat[:, 0] > 0, tf.int32)
                parts = tf.dynamic_partition(flat, chosen, experts)
                places = tf.dynamic_partition(tf.range(n * t), chosen, experts)
                done = [ops.tanh(e(part)) for e, part in zip(self.experts, parts, strict=True)]
                out = tf.ensure_shape(tf.dynamic_stitch(places, done), (n * t, width))
                if way == "two of them":
                    out = out + ops.tanh(self.experts[0](flat))
            elif way == "sorted":
                order = tf.argsort(flat[:, 0])
                moved = tf.gather(flat, order)
                for expert in self.experts:
                    moved = ops.tanh(expert(moved))
                out = tf.gather(moved, tf.argsort(order))
            elif way == "packed":
                alive = tf.where(x[..., 0] > -0.5)
                packed = tf.gather_nd(x, alive)
                for expert in self.experts:
                    packed = ops.tanh(expert(packed))
                out = tf.ensure_shape(tf.scatter_nd(alive, packed, (n, t, width)), (n, t, width))
            elif way == "one-hot":
                hot = tf.one_hot(chosen, experts, dtype=x.dtype)
                each = tf.stack([ops.tanh(e(flat * hot[:, i : i + 1])) for i, e in enumerate(self.experts)], 1)
                out = tf.reduce_sum(hot[:, :, None] * each, 1)
            else:
                room = max(1, t // experts)
                out = tf.zeros_like(x)
                for number, expert in enumerate(self.experts):
                    first = tf.math.top_k(share[..., number], room).indices
                    back = tf.one_hot(first, t, dtype=x.dtype)
                    out += tf.einsum("nrt,nrw->ntw", back, ops.tanh(expert(tf.gather(x, first, batch_dims=1))))
            return self.head(ops.mean(tf.reshape(out, (n, t, width)), 1))

        def _images(self, x: Any) -> Any:
            order = tf.argsort(tf.reduce_mean(x, (1, 2, 3)))
            moved = tf.gather(x, order)
            for expert in self.experts:
                moved = ops.tanh(expert(moved))
            return self.head(ops.mean(tf.gather(moved, tf.argsort(order)), (1, 2)))

    model = Router()

    def gradients(x: Any, y: Any, names: list[str]) -> Iterator[dict[str, Any]]:
        known = KerasModel(model, units=("filters", "rows", "channels")).profiler.network.variables
        weights = [known[name].value for name in names]
        for i in range(len(y)):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                score = model(tf.convert_to_tensor(x[i : i + 1]))
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y[i : i + 1], logits=score)
            found = tape.gradient(loss, weights, unconnected_gradients="zero")
            yield {name: tf.convert_to_tensor(g).numpy() for name, g in zip(names, found, strict=True)}

    def build(x: Any = None, **options: Any) -> Any:
        if x is not None:
            model(tf.convert_to_tensor(x))
            for expert in model.experts:
                if not expert.built:
                    expert.build((None, *x.shape[1:]) if way == "images" else (None, width))
        return KerasModel(model, units=("filters", "rows", "channels"), **options)

    return build, gradients


def examine(make: Callable[..., tuple[Any, Any]], number: int, framework: str) -> tuple[str, str]:
    rng = np.random.default_rng(number)
    way = WAYS[number % len(WAYS)]
    n, t, width = (int(rng.integers(*limits)) for limits in ((2, 7), (3, 9), (4, 7)))
    experts = 2 if way == "mask" else int(rng.integers(2, 4))
    shape = (n, 5, 5, 2) if way == "images" else (n, t, width)
    if framework == "torch" and way == "images":
        shape = (shape[0], 2, 5, 5)
    build, gradients = make(way, width, experts, number)
    x, y = rng.normal(size=shape), rng.integers(0, 3, shape[0])
    reduction = REDUCTIONS[int(rng.integers(3))]
    options = {"reduction": reduction, "verify": bool(rng.integers(2))}
    if framework == "keras":
        options["x"] = x
    net = build(**options)
    names = net.profiler.plan.parameters
    weights = {name: np.asarray(net.profiler.network.arrays.numpy(net.profiler.network.read(name))) for name in names}
    worst = 0.0
    try:
        for batch in (x, x[::-1].copy(), rng.normal(size=shape)):
            got = net.profile(batch, y)
            plan = net.profiler.plan
            want = np.stack([reduce_gradient(plan, reduction, g, weights) for g in gradients(batch, y, names)])
            worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    except (RuntimeError, ValueError) as error:
        return "refused", f"{way}: {error}"
    if not worst < 1e-9:
        return "wrong", f"{way}: {worst:.1e}, {options['reduction']}, seed {number}"
    return ("slow-exact" if net.coverage.slow else "exact"), way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--networks", type=int, default=120)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    make = torch_network if options.framework == "torch" else keras_network
    counts: dict[str, dict[str, int]] = {}
    start = time.perf_counter()
    for number in range(options.networks):
        verdict, what = examine(make, number, options.framework)
        print(f"  {number}: {verdict}: {what}", flush=True)
        of = counts.setdefault(what.partition(":")[0], {})
        of[verdict] = of.get(verdict, 0) + 1
    verdicts = ("exact", "slow-exact", "refused", "wrong")
    print(f"{'':14s}" + "".join(f"{verdict:>12s}" for verdict in verdicts))
    for way, of in counts.items():
        print(f"{way:14s}" + "".join(f"{of.get(verdict, 0):12d}" for verdict in verdicts))
    total = [sum(of.get(verdict, 0) for of in counts.values()) for verdict in verdicts]
    print(f"{'all':14s}" + "".join(f"{count:12d}" for count in total) + f"   {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
