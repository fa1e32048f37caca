"""Units are chosen by layer type, in the network's order, and what they leave out is said."""

import networks
import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel, register_heads
from torch import nn
from torch.nn.utils import parametrizations

from evtkit.saliency.protocol import SaliencyModel, UnitGradient
from evtkit.saliency.units import Units, stage_of


@pytest.mark.parametrize(
    ("build", "filters"),
    [
        (networks.resnet18, 4800),
        (networks.resnet50, 26560),
        (lambda: networks.cifar_resnet(20), 688),
        (lambda: networks.cifar_resnet(56), 2032),
    ],
)
def test_residual_networks_have_the_published_number_of_filters(build, filters):
    with torch.device("meta"):
        net = TorchModel(build())
    assert len(net.units) == filters
    assert set(net.units.kind) == {"filters"}


def test_order_is_named_modules_then_output_index():
    model = networks.cifar_resnet(20)
    units = TorchModel(model).units
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert list(dict.fromkeys(units.module.tolist())) == layers
    assert list(units.names[:17]) == [f"conv1[{i}]" for i in range(16)] + ["layer1.0.conv1[0]"]
    assert units.size[0] == 27
    assert list(units.stages) == ["conv1", "layer1", "layer2", "layer3"]


def test_a_four_dimensional_parameter_is_not_a_convolution():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    with pytest.raises(ValueError, match="units must be one of the kinds"):
        TorchModel(nn.Sequential(Mixing()))


def test_kinds_globs_and_predicates_choose_layers():
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 4), nn.Linear(4, 2)).eval()
    assert len(TorchModel(model, units=("filters", "rows")).units) == 3 + 4 + 2
    assert len(TorchModel(model, units=["channels", "4"]).units) == 3 + 2
    assert len(TorchModel(model, units=lambda name, module: isinstance(module, nn.Linear) and name < "4").units) == 4
    assert len(TorchModel(model, units="[01]").units) == 3 + 3
    with pytest.raises(ValueError, match=r"units must .*got 'heads'"):
        TorchModel(model, units="heads")


def test_coverage_accounts_for_every_parameter():
    model = nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Linear(4, 2), nn.GRU(2, 2), nn.BatchNorm1d(3, affine=False)
    )
    coverage = TorchModel(model.eval()).coverage
    assert coverage.total == sum(p.numel() for p in model.parameters())
    assert coverage.covered == 18
    reasons = {part.parameter: part.reason for part in coverage.left_out}
    assert reasons["0.bias"] == "bias"
    assert reasons["1.weight"] == "channels not selected"
    assert reasons["2.weight"] == "rows not selected"
    assert reasons["3.weight_ih_l0"] == "cells not selected"


def test_a_parametrized_weight_is_left_out_and_said_so():
    model = nn.Sequential(nn.Conv1d(2, 3, 3), parametrizations.weight_norm(nn.Conv1d(3, 3, 3)))
    net = TorchModel(model)
    assert len(net.units) == 3
    assert "recomputed" in str(net.coverage)
    assert "recomputed" in repr(net)


def test_a_shared_weight_is_counted_once_under_its_first_name():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    units = TorchModel(nn.Sequential(first, second, first), units="rows").units
    assert list(units.names) == ["0[0]", "0[1]", "0[2]"]


def test_heads_of_both_attention_styles():
    class Fused(nn.Module):
        def __init__(self, heads="num_heads"):
            super().__init__()
            setattr(self, heads, 2)
            self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    class Other(Fused):
        def __init__(self):
            super().__init__("h")

    register_heads(Other, num_heads="h", interleaved=True)
    units = TorchModel(nn.Sequential(nn.MultiheadAttention(8, 4), Fused(), Other()), units="heads").units
    assert list(units.module) == ["0"] * 4 + ["1"] * 2 + ["2"] * 2
    assert list(units.size) == [4 * 8 * 2] * 4 + [4 * 8 * 4] * 4


def test_lazy_layers_and_scripted_models_are_refused():
    with pytest.raises(ValueError, match="must be initialised by one forward pass"):
        TorchModel(nn.Sequential(nn.LazyConv2d(3, 3)))
    with pytest.raises(ValueError, match=r"model must be .*got function"):
        TorchModel(lambda x: x)


@pytest.mark.parametrize(
    "wrong", [{"reduction": "max"}, {"max_workspace_mib": 0}, {"micro_batch": 0}, {"loss_scale": float("inf")}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        TorchModel(nn.Sequential(nn.Linear(2, 2)), units="rows", **wrong)


def test_it_is_a_saliency_model():
    net = TorchModel(nn.Sequential(nn.Linear(2, 2)), units="rows")
    assert isinstance(net, SaliencyModel)
    assert isinstance(net.gradient(torch.ones(1, 2), [0]), UnitGradient)


def test_selections_are_positions_masks_or_names():
    units = Units(["a", "a", "b"], ["rows"] * 3, [0, 1, 0], [2, 2, 2], ["a", "a", "b"])
    assert list(units.resolve(["b[0]", "a[1]"])) == [2, 1]
    assert list(units.resolve([True, False, True])) == [0, 2]
    assert list(units.resolve(2)) == [2]
    assert len(units.resolve([])) == 0
    assert units[1:] == Units(["a", "b"], ["rows"] * 2, [1, 0], [2, 2], ["a", "b"])
    for wrong, message in [
        ([3], "positions"),
        ([0, 0], "twice"),
        ([True], "mask"),
        (["c[0]"], "must be those of units"),
        ([0.5], "dtype"),
    ]:
        with pytest.raises(ValueError, match=message):
            units.resolve(wrong)


def test_tables_with_unequal_columns_or_repeated_rows_are_refused():
    with pytest.raises(ValueError, match="must have shape \\(1,\\)"):
        Units(["a"], ["rows"], [0, 1], [2], ["a"])
    with pytest.raises(ValueError, match="units must differ in module and index"):
        Units(["a", "a"], ["rows"] * 2, [0, 0], [2, 2], ["a", "a"])


def test_a_stage_is_the_name_up_to_its_first_number():
    names = [
        "layer1.0.conv1",
        "features.3",
        "blocks.11.mlp.fc1",
        "backbone.layer2.0",
        "stem.conv",
        "fc",
        "group2/conv/kernel",
    ]
    stages = ["layer1", "features.3", "blocks.11", "backbone.layer2", "stem", "fc", "group2"]
    assert [stage_of(name) for name in names] == stages
    net = TorchModel(nn.Sequential(nn.Linear(2, 2)), units="rows", stage=lambda name: "all")
    assert np.all(net.units.stage == "all")
