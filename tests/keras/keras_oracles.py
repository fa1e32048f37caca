"""An independent answer: a loop over single samples under an ordinary tape, reduced unit by unit."""

import copy
import dataclasses
import re
from collections import Counter

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers


def cross_entropy(y_true, y_pred):
    """From logits, as tests' networks return them."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y_true, logits=y_pred)


def loop_gradients(model, x, y, loss=cross_entropy):
    """One dict of gradients a sample, by the identity of the variable."""
    variables = model.variables
    for i in range(len(y)):
        one = keras.tree.map_structure(lambda part, i=i: tf.convert_to_tensor(part[i : i + 1]), x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            real = [v.value for v in variables if tf.as_dtype(v.dtype).is_floating]
            tape.watch(real)
            total = tf.reduce_sum(loss(tf.convert_to_tensor(y[i : i + 1]), model(one, training=False)))
        slopes = tape.gradient(total, real, unconnected_gradients="zero")
        keys = [id(v) for v in variables if tf.as_dtype(v.dtype).is_floating]
        yield {key: tf.convert_to_tensor(slope).numpy() for key, slope in zip(keys, slopes, strict=True)}


def layer_named(model, name):
    """The layer of that full name, and which part of it."""
    whole, _, part = name.rpartition("/")
    if part in ("depthwise", "pointwise"):
        return named_layers(model)[whole], part
    return named_layers(model)[name], ""


def named_layers(model):
    """Every layer by its full name; automatic names are counted anew over the whole network, from the first one on."""
    found, count = {}, Counter()

    def walk(prefix, parent):
        for layer in parent._flatten_layers(include_self=False, recursive=False):
            kind = re.sub(r"_\d+$", "", layer.name)
            automatic = kind.replace("_", "") == type(layer).__name__.lower()
            number = count[kind]
            count[kind] += automatic
            name = prefix + ((f"{kind}_{number}" if number else kind) if automatic else layer.name)
            if id(layer) not in {id(other) for other in found.values()}:
                found[name] = layer
                walk(f"{name}/", layer)
            else:
                count[kind] -= automatic

    walk("", model)
    return found


def unit_gradients(model, name, gradients):
    """Flat gradients of a layer's units, (units, weights) or a list, straight from the definition of its type."""
    layer, part = layer_named(model, name)

    def of(variable):
        return gradients[id(variable)]

    def heads(*slices):
        """Head by head, what each (kernel, axis, number of heads) has of it."""
        moved = [np.moveaxis(of(kernel), axis, 0).reshape(count, -1) for kernel, axis, count in slices]
        return np.concatenate(moved, 1)

    if isinstance(layer, layers.MultiHeadAttention):
        n = layer.num_heads
        inner = [(dense.kernel, 1, n) for dense in (layer._query_dense, layer._key_dense, layer._value_dense)]
        return heads(*inner, (layer._output_dense.kernel, 0, n))
    if isinstance(layer, layers.GroupQueryAttention):
        own = heads((layer._query_dense.kernel, 1, 4), (layer._output_dense.kernel, 0, 4))
        return [*own, *heads((layer._key_dense.kernel, 1, 2), (layer._value_dense.kernel, 1, 2))]
    if hasattr(layer, "qkv"):
        n = layer.num_heads
        split = np.moveaxis(of(layer.qkv.kernel).reshape(-1, 3, n, layer.qkv.units // 3 // n), 2, 0)
        return np.concatenate([split.reshape(n, -1), of(layer.proj.kernel).reshape(n, -1)], 1)
    if part:
        kernel = of(layer.depthwise_kernel if part == "depthwise" else layer.pointwise_kernel)
    elif isinstance(layer, layers.RMSNormalization):
        kernel = of(layer.scale)
    else:
        kernel = of(layer.gamma if hasattr(layer, "gamma") else layer.kernel)
    norms = layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization, layers.RMSNormalization
    if isinstance(layer, norms):
        return kernel.reshape(-1, 1)
    if isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)):
        return np.moveaxis(kernel, -2, 0).reshape(layer.filters, -1)
    if part == "depthwise" or isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1]).T
    if isinstance(layer, layers.EinsumDense):
        inputs, weight, output = layer.equation.replace("...", "").replace("->", ",").split(",")
        own = sorted((c for c in output if c in weight), key=lambda c: c not in inputs)
        moved = np.moveaxis(kernel, [weight.index(c) for c in own], range(len(own)))
        return moved.reshape(int(np.prod(moved.shape[: len(own)])), -1)
    return kernel.reshape(-1, kernel.shape[-1]).T


def reduce(model, units, gradients, reduction="taylor"):
    """(batch, units) from per-sample gradients."""

    def each(arrays):
        return [g for name in dict.fromkeys(units.module.tolist()) for g in unit_gradients(model, name, arrays)]

    if reduction == "taylor":
        weights = each({id(v): v.numpy() for v in model.variables})
        return np.array([[g @ w for g, w in zip(each(s), weights, strict=True)] for s in gradients])
    return np.array([[np.abs(g).mean() if reduction == "mean-abs" else np.linalg.norm(g) for g in each(s)]
                     for s in gradients])  # fmt: skip


def with_reduction(net, reduction):
    """The same network and units, profiled in another way, with graphs of its own."""
    other = copy.copy(net)
    other.profiler = dataclasses.replace(net.profiler, reduction=reduction)
    return other


def assert_profile_exact(net, x, y, loss=cross_entropy, rtol=1e-10):
    """The profile equals the loop, as it is, mean absolute and Taylor; relative to each layer's largest entry."""
    others = [with_reduction(net, how) for how in {"mean-abs", "taylor"} - {net.reduction}]  # verified, each for itself
    got = net.profile(x, y)
    gradients = list(loop_gradients(net.model, x, y, loss))
    _assert_close(net, got, reduce(net.model, net.units, gradients, net.reduction), rtol)
    for other in others:
        _assert_close(net, other.profile(x, y), reduce(net.model, net.units, gradients, other.reduction), rtol)
    return got


def _assert_close(net, got, want, rtol):
    for name in dict.fromkeys(net.units.module.tolist()):
        here = net.units.module == name
        scale = np.abs(want[:, here]).max()
        assert scale > 0, name
        np.testing.assert_allclose(got[:, here], want[:, here], rtol=rtol, atol=rtol * scale, err_msg=name)
