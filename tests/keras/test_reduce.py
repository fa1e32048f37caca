"""The primitive: how it is cut up changes nothing, and what it holds stays within bounds."""

import itertools
from types import SimpleNamespace

import keras
import keras_networks
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import Block, Diagonal, KerasModel, Use
from evtkit_keras import reduce as reduce_module
from evtkit_keras.reduce import Workspace, lane_sums, row_sums
from evtkit_keras.rules.convolution import transposed_convolution
from evtkit_keras.rules.dense import dense
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_close

extents = st.integers(1, 6)


@given(n=extents, groups=extents, rows=extents, q=extents, k=extents, uses=st.integers(1, 3), parts=st.integers(1, 3),
       limit=st.sampled_from([1, 100, 10**6]), reduction=st.sampled_from(["taylor", "mean-abs", "l2"]))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_row_sums_equal_the_whole_product(n, groups, rows, q, k, uses, parts, limit, reduction):
    rng = np.random.default_rng(n + 7 * q)
    shapes = (n, groups, rows, q), (n, groups, q, k)
    own = [tf.constant(rng.normal(size=(groups, rows, k))) for _ in range(parts)]
    made = [tuple(Block(*(tf.constant(rng.normal(size=s)) for s in shapes), own[b]) for b in range(parts))
            for _ in range(uses)]  # fmt: skip
    whole = [sum(use[b].left.numpy() @ use[b].right.numpy() for use in made) for b in range(parts)]
    power = 1 if reduction == "mean-abs" else 2
    taylor = reduction == "taylor"
    want = sum(whole[b] * own[b].numpy() if taylor else np.abs(whole[b]) ** power for b in range(parts))
    got = row_sums(made, reduction, limit)
    np.testing.assert_allclose(got.numpy(), want.sum(-1).reshape(n, -1), rtol=1e-12, atol=1e-12)


def test_row_sums_of_diagonals_add_uses_before_the_absolute_value():
    rng = np.random.default_rng(0)
    made = [(Diagonal(*(tf.constant(rng.normal(size=(2, 5, 3))) for _ in range(2))),) for _ in range(2)]
    want = np.abs(sum((use[0].left.numpy() * use[0].right.numpy()).sum(1) for use in made))
    np.testing.assert_allclose(row_sums(made, "mean-abs", 10**6).numpy(), want, rtol=1e-12)


def test_no_weight_is_an_error_where_it_is_wanted():
    part = Diagonal(tf.ones((2, 5, 3)), tf.ones((2, 5, 3)))
    with pytest.raises(RuntimeError, match=r"must have the weight in its factors, Diagonal\(\.\.\., weight\)"):
        row_sums([(part,)], "taylor", 10**6)


@pytest.mark.parametrize("bound", [1e-3, 0.1, 256])
@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("reduction", ["mean-abs", "taylor"])
def test_the_workspace_changes_nothing(bound, run_eagerly, reduction):
    model = keras_networks.resnet8()
    x, y = np.random.default_rng(0).normal(size=(5, 32, 32, 3)), np.arange(5)
    want = KerasModel(model, run_eagerly=True, verify=False, reduction=reduction).profile(x, y)
    net = KerasModel(model, max_workspace_mib=bound, verify=False, run_eagerly=run_eagerly, reduction=reduction)
    np.testing.assert_allclose(net.profile(x, y), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bound", [1, 4])  # one sample of the first layers needs 0.6 MiB
def test_the_workspace_bounds_factors_and_products(bound, monkeypatch):
    keras.config.set_dtype_policy("float32")
    sizes = []
    blocks_of = reduce_module._blocks

    def blocks(*arguments):
        made = blocks_of(*arguments)
        sizes.append(reduce_module._bytes(made))
        return made

    monkeypatch.setattr(reduce_module, "_blocks", blocks)
    x = np.random.default_rng(0).normal(size=(16, 32, 32, 3))
    net = KerasModel(keras_networks.resnet8(), max_workspace_mib=bound, verify=False, run_eagerly=True,
                     reduction="mean-abs")  # fmt: skip
    net.profile(x, np.zeros(16, int))
    assert max(sizes) <= bound * 2**20
    assert len(sizes) > 2 * 9  # some layers are done in several parts


def test_lane_sums_are_in_float32_for_half_precision():
    rng = np.random.default_rng(0)
    a, g = (tf.cast(rng.normal(size=(3, 4, k)), tf.bfloat16) for k in (5, 2))
    got = lane_sums([dense], [Use((5, 2), a, g, None, (1,))], 3, 2, "mean-abs", Workspace(1))
    want = np.abs(np.einsum("nto,nti->noi", g.numpy().astype("f4"), a.numpy().astype("f4"))).sum(2)
    assert_close(got.numpy(), want, 4 * 5)


@pytest.mark.parametrize("dilation", [1, 2, (2, 1)])
def test_a_dilated_transposed_convolution_by_its_definition(dilation):
    """TensorFlow computes none on a CPU, so its rule is compared with the sum that defines it."""
    dilation = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    rng = np.random.default_rng(0)
    extent = [(n - 1) * s + d * 2 + 1 for n, s, d in zip((4, 3), (2, 1), dilation, strict=True)]
    a, g = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, *extent, 6))
    want = np.zeros((2, 3, 3, 6, 5))
    for i, j, p, q in itertools.product(range(3), range(3), range(4), range(3)):
        there = g[:, 2 * p + dilation[0] * i, q + dilation[1] * j]
        want[:, i, j] += there[:, :, None] * a[:, p, q, None, :]
    layer = SimpleNamespace(strides=(2, 1), dilation_rate=dilation, padding="valid", data_format="channels_last")
    weight = rng.normal(size=(3, 3, 6, 5))
    use = Use(weight.shape, tf.constant(a), tf.constant(g), layer, (2,), tf.constant(weight))
    got, taylor = (
        lane_sums([transposed_convolution], [use], 2, 6, how, Workspace(1)) for how in ("mean-abs", "taylor")
    )
    np.testing.assert_allclose(got.numpy(), np.abs(want).sum((1, 2, 4)), rtol=1e-12)
    np.testing.assert_allclose(taylor.numpy(), (want * weight).sum((1, 2, 4)), rtol=1e-12, atol=1e-12)
