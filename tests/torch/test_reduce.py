"""The primitive: how it is cut up changes nothing, and what it holds stays within bounds."""

import networks
import numpy as np
import pytest
import torch
from evtkit_torch import Block, TorchModel, products
from evtkit_torch import reduce as reduce_module
from evtkit_torch.reduce import Workspace, lane_sums, row_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_close

extents = st.integers(1, 6)


@given(n=extents, groups=extents, rows=extents, q=extents, k=extents, uses=st.integers(1, 3), blocks=st.integers(1, 3),
       bound=st.sampled_from([1e-6, 1e-4, 1]), reduction=st.sampled_from(["mean-abs", "l2"]))  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_row_sums_equal_the_whole_product(n, groups, rows, q, k, uses, blocks, bound, reduction):
    generator = torch.Generator().manual_seed(n + 7 * q)
    shape_left, shape_right = (n, groups, rows, q), (n, groups, q, k)
    made = [
        tuple(
            Block(*(torch.randn(s, generator=generator, dtype=torch.float64) for s in (shape_left, shape_right)))
            for _ in range(blocks)
        )
        for _ in range(uses)
    ]
    power = 1 if reduction == "mean-abs" else 2
    want = sum(sum(use[b].left @ use[b].right for use in made).abs().pow(power).sum(-1) for b in range(blocks))
    got = row_sums(made, reduction, Workspace(bound))
    torch.testing.assert_close(got, want.flatten(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bound", [1e-3, 0.1, 1, 256])
@pytest.mark.parametrize("reduction", ["mean-abs", "taylor"])
def test_the_workspace_changes_nothing(bound, reduction):
    model = networks.cifar_resnet(8).double()
    x, y = torch.randn(5, 3, 16, 16), np.arange(5)
    want = TorchModel(model, reduction=reduction).profile(x, y)
    net = TorchModel(model, max_workspace_mib=bound, verify=False, reduction=reduction)
    np.testing.assert_allclose(net.profile(x, y), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bound", [2, 8])  # one sample of the first layers needs 0.8 MiB
def test_the_workspace_bounds_factors_and_products(bound, monkeypatch):
    sizes = []
    original_new, original_block = reduce_module._new_bytes, Workspace.block
    blocks_of = reduce_module._blocks

    def blocks(rule, use, start, stop, samples, dtype):
        made = blocks_of(rule, use, start, stop, samples, dtype)
        sizes.append(original_new(made, use))
        return made

    def block(self, shape, like):
        sizes.append(int(np.prod(shape)) * like.element_size())
        return original_block(self, shape, like)

    monkeypatch.setattr(reduce_module, "_blocks", blocks)
    monkeypatch.setattr(Workspace, "block", block)
    net = TorchModel(networks.resnet18(), max_workspace_mib=bound, verify=False, reduction="mean-abs")
    net.profile(torch.randn(8, 3, 32, 32), [0] * 8)
    assert max(sizes) <= bound * 2**20 / 2


def test_lane_sums_are_in_float32_for_half_precision():
    from evtkit_torch.rules import Use
    from evtkit_torch.rules.linear import linear

    a, g = torch.randn(3, 4, 5).bfloat16(), torch.randn(3, 4, 2).bfloat16()
    use = Use(torch.empty(2, 5), a, g, {})
    got = lane_sums([linear], [use], 3, 2, "mean-abs", Workspace(1))
    assert_close(got, torch.einsum("nto,nti->noi", g.float(), a.float()).abs().sum(2), 4 * 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "features"), [
    ((3, 8, 40, 37), 0), ((2, 9000, 2, 1), 0), ((3, 8, 40, 37), "last"), ((4, 33, 300), 1), ((2, 5, 7, 600), 1),
    ((2, 50, 20, 30), 2),
])  # fmt: skip
def test_one_pass_over_products_is_what_five_are(shape, features, dtype, monkeypatch):
    torch.manual_seed(0)
    y, g = (torch.randn(shape, dtype=dtype) for _ in range(2))
    if features == "last":
        y = y.to(memory_format=torch.channels_last)
    bias = torch.randn(shape[1] if features in (0, "last") else shape[-features:], dtype=dtype)

    def take():
        if features in (0, "last"):
            return products.channel_products(y, g, bias, Workspace(8))
        return products.row_products(y, g, bias, features, Workspace(8))

    quick = take()
    assert quick[0].dtype == torch.float64  # what is compiled adds up in double precision
    monkeypatch.setattr(products, "one_pass", lambda kind: None)
    for ours, plain in zip(quick, take(), strict=True):
        assert ours.shape == plain.shape
        bound = torch.finfo(dtype).eps * quick[1] * 64
        assert ((ours - plain).abs() <= bound).all()
