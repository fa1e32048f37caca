"""Saliency of a network in JAX: an adapter of two small classes, for plain JAX and for Keras on JAX.

    python examples/jax_network.py                      # plain JAX
    KERAS_BACKEND=jax python examples/jax_network.py    # and a Keras model on JAX

Needs: pip install evtkit jax scikit-learn (and keras)
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from evtkit.saliency import Batches, calibrate, suspects
from evtkit.saliency.adapting import Candidate, Lanes, Network, NetworkModel, Profiler, reduce_gradient


# -- the adapter -------------------------------------------------------------------------------------------------------
class JaxNetwork(Network):
    """Parameters by name; a unit is a slice along the last axis of a kernel, as JAX's libraries lay them out."""

    kinds = ("filters", "rows")

    def __init__(self, params):
        self.model = dict(params)

    def names(self):
        return list(self.model)

    def candidates(self):
        for name, weight in self.model.items():
            if weight.ndim > 1:
                lanes = Lanes(name, units=np.arange(weight.shape[-1]), axes=(weight.ndim - 1,))
                yield Candidate(name.rpartition("/")[0], "rows" if weight.ndim == 2 else "filters", None, [lanes])

    def read(self, name):
        return np.array(self.model[name])

    def write(self, name, changes):
        for index, values in changes:
            self.model[name] = self.model[name].at[index].set(values)

    def no_units(self, name):
        return "bias"


class JaxProfiler(Profiler):
    """What is run: ``apply(params, x)`` gives class scores."""

    def __init__(self, apply, **others):
        super().__init__(**others)

        def loss(params, x, y):
            return -jax.nn.log_softmax(apply(params, x[None]))[0, y]

        self._apply = jax.jit(apply)
        self._summed = jax.jit(jax.grad(lambda params, x, y: jax.vmap(loss, (None, 0, 0))(params, x, y).sum()))
        self._each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))

    def logits(self, batch):
        return np.asarray(self._apply(self.network.model, batch.inputs))

    def gradient(self, batch, target, names):
        found = self._summed(self.network.model, batch.inputs, self._labels(batch, target))
        return {name: np.asarray(found[name]) for name in names}

    def profile(self, batch, target):
        names = self.plan.parameters
        self.used.update(names)
        found = self._each(self.network.model, batch.inputs, self._labels(batch, target))
        slopes, weights = {name: np.asarray(found[name]) for name in names}, self.network.weights(names)
        rows = ({name: slopes[name][i] for name in names} for i in range(batch.size))
        return np.stack([reduce_gradient(self.plan, self.reduction, row, weights) for row in rows]).astype(self.dtype)

    def _labels(self, batch, target):
        return self.logits(batch).argmax(1) if isinstance(target, str) else np.asarray(target)


def jax_model(apply, params, units=("filters", "rows"), reduction="taylor"):
    network = JaxNetwork(params)
    return NetworkModel(JaxProfiler(apply, network=network, plan=network.plan(units), reduction=reduction))


# -- two networks ------------------------------------------------------------------------------------------------------
def plain_network():
    rng = np.random.default_rng(0)
    sizes = {"conv/kernel": (3, 3, 1, 12), "hidden/kernel": (192, 32), "head/kernel": (32, 10)}
    params = {
        name: jnp.asarray(rng.normal(size=s) / np.sqrt(np.prod(s[:-1])), jnp.float32) for name, s in sizes.items()
    }
    params |= {name.replace("kernel", "bias"): jnp.zeros(s[-1]) for name, s in sizes.items()}

    def apply(params, x):
        x = jax.lax.conv_general_dilated(
            x, params["conv/kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + params["conv/bias"]).reshape(len(x), -1)
        x = jax.nn.relu(x @ params["hidden/kernel"] + params["hidden/bias"])
        return x @ params["head/kernel"] + params["head/bias"]

    return apply, params


def keras_network():
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    parts = [layers.Conv2D(12, 3, 2, "same", activation="relu"), layers.Flatten(), layers.Dense(32, activation="relu")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts, layers.Dense(10)])
    rest = [variable.value for variable in model.non_trainable_variables]
    params = {variable.path: variable.value for variable in model.trainable_variables}
    order = list(params)  # JAX sorts what is in a dict
    return lambda params, x: model.stateless_call([params[name] for name in order], rest, x)[0], params


def main():
    examined(*plain_network())
    if os.environ.get("KERAS_BACKEND") == "jax":
        examined(*keras_network())


def examined(apply, params):
    """Train a network, damage a unit, and ask which it was."""
    digits = load_digits()
    x, y = (digits.images[..., None] / 16).astype(np.float32), digits.target

    order = list(params)  # of the layers; JAX sorts what is in a dict

    @jax.jit
    def step(params, x, y):
        scores = lambda params: jax.nn.log_softmax(apply(params, x))[jnp.arange(len(y)), y]  # noqa: E731
        slopes = jax.grad(lambda params: -scores(params).mean())(params)
        return {name: value - 0.2 * slopes[name] for name, value in params.items()}

    for epoch in range(15):
        for part in np.array_split(np.random.default_rng(epoch).permutation(900), 30):
            params = step(params, x[part], y[part])

    net = jax_model(apply, {name: params[name] for name in order})
    print(net)
    print(f"right: {(net.predict(x[1300:]).argmax(1) == y[1300:]).mean():.3f}")
    reference = calibrate(net, Batches(x[900:1300], y[900:1300], 50), progress=False)
    name, unit = net.units.names[3], 3
    with net.scaled([unit], -10.0):  # a fault
        print(f"right with {name} damaged: {(net.predict(x[1300:]).argmax(1) == y[1300:]).mean():.3f}")
        print(suspects(net, reference, (x[1300:1400], y[1300:1400])))


if __name__ == "__main__":
    main()
