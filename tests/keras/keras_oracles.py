"""An independent answer: a loop over single samples under an ordinary tape, reduced unit by unit."""

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
    for part in name.split("/"):
        if part in ("depthwise", "pointwise"):
            return model, part
        model = next(
            layer for layer in model._flatten_layers(include_self=False, recursive=False) if layer.name == part
        )
    return model, ""


def unit_gradient(model, name, index, gradients):
    """Flat gradient of one unit, straight from the definition of its layer's type."""
    layer, part = layer_named(model, name)

    def of(variable):
        return gradients[id(variable)]

    if isinstance(layer, layers.MultiHeadAttention):
        inner = [layer._query_dense, layer._key_dense, layer._value_dense]
        pieces = [of(dense.kernel)[:, index].ravel() for dense in inner]
        return np.concatenate([*pieces, of(layer._output_dense.kernel)[index].ravel()])
    if isinstance(layer, layers.GroupQueryAttention):
        query, output = of(layer._query_dense.kernel), of(layer._output_dense.kernel)
        if index < query.shape[1]:
            return np.concatenate([query[:, index].ravel(), output[index].ravel()])
        inner = [layer._key_dense, layer._value_dense]
        return np.concatenate([of(dense.kernel)[:, index - query.shape[1]].ravel() for dense in inner])
    if hasattr(layer, "qkv"):
        width = layer.qkv.units // (3 * layer.num_heads)
        mine = slice(index * width, (index + 1) * width)
        pieces = [piece[:, mine].ravel() for piece in np.split(of(layer.qkv.kernel), 3, axis=1)]
        return np.concatenate([*pieces, of(layer.proj.kernel)[mine].ravel()])
    if part:
        kernel = of(layer.depthwise_kernel if part == "depthwise" else layer.pointwise_kernel)
    elif isinstance(layer, layers.RMSNormalization):
        kernel = of(layer.scale)
    else:
        kernel = of(layer.gamma if hasattr(layer, "gamma") else layer.kernel)
    if isinstance(layer, (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization,
                          layers.RMSNormalization)):  # fmt: skip
        return kernel.ravel()[index : index + 1]
    if isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)):
        return kernel[..., index, :].ravel()
    if part == "depthwise" or isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return kernel[(..., *divmod(index, kernel.shape[-1]))].ravel()
    if isinstance(layer, layers.EinsumDense):
        inputs, weight, output = layer.equation.replace("...", "").replace("->", ",").split(",")
        own = sorted((c for c in output if c in weight), key=lambda c: c not in inputs)
        moved = np.moveaxis(kernel, [weight.index(c) for c in own], range(len(own)))
        return moved.reshape(-1, *moved.shape[len(own) :])[index].ravel()
    return kernel[..., index].ravel()


def reduce(model, units, gradients, reduction="mean-abs"):
    """(batch, units) from per-sample gradients."""
    rows = []
    for sample in gradients:
        flat = [unit_gradient(model, m, i, sample) for m, i in zip(units.module, units.index.tolist(), strict=True)]
        rows.append([np.abs(g).mean() if reduction == "mean-abs" else np.linalg.norm(g) for g in flat])
    return np.array(rows)


def assert_profile_exact(net, x, y, loss=cross_entropy, rtol=1e-10):
    """The profile equals the loop; the tolerance is relative to each layer's largest entry."""
    got = net.profile(x, y)
    want = reduce(net.model, net.units, loop_gradients(net.model, x, y, loss), net.reduction)
    assert want.max() > 0
    for name in dict.fromkeys(net.units.module.tolist()):
        here = net.units.module == name
        assert want[:, here].max() > 0, name
        np.testing.assert_allclose(
            got[:, here], want[:, here], rtol=rtol, atol=rtol * want[:, here].max(), err_msg=name
        )
    return got
