"""What other tools know: masks of torch.nn.utils.prune, safetensors, and attributions called as Captum's are."""

import numpy as np
import pytest
import torch
from evtkit_torch import InputAttribution, TorchModel, UnitAttribution, apply_masks, apply_repair, masks
from evtkit_torch.input_saliency import input_saliency
from torch import nn
from torch.nn.utils import prune

from evtkit.saliency import Batches, Units, calibrate
from evtkit.saliency.repairs import Repair, Share

X = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


def network(dtype=torch.float32):
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3), nn.Tanh(), nn.ConvTranspose2d(4, 2, 3, groups=2), nn.Flatten(), nn.Linear(72, 3)]
    return nn.Sequential(*parts).eval().to(dtype)


def test_masks_take_out_what_pruned_takes_out_for_a_while_and_training_keeps_it():
    model = network()
    net = TorchModel(model, units=("filters", "rows"))
    units = [1, 5, 7]
    with net.pruned(units):
        want = net.logits(X)
    found = masks(net, units)
    assert set(found) == {"0.weight", "2.weight", "4.weight"}
    apply_masks(model, found)
    with torch.no_grad():
        np.testing.assert_array_equal(model(X), want)
    nn.functional.cross_entropy(model(X), Y).backward()
    torch.optim.SGD(model.parameters(), 0.5).step()
    model(X)
    assert model[0].weight[1].abs().sum() == 0
    assert model[0].weight[0].abs().sum() > 0
    apply_masks(model, {"0.weight": torch.ones(4, 1, 3, 3).index_fill(0, torch.tensor(2), 0)})  # on top of it
    for layer in (model[0], model[2], model[4]):
        prune.remove(layer, "weight")
    assert [int(row.abs().sum() == 0) for row in model[0].weight] == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "shape", "message"), [("9.weight", (1,), "masks must be of"), ("0.weight", (1,), "must have shape")]
)
def test_masks_of_another_network_are_refused(name, shape, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        apply_masks(model, {"4.weight": torch.zeros(3, 72), name: torch.zeros(shape)})
    assert not prune.is_pruned(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_repair_goes_through_safetensors(dtype, tmp_path):
    files = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    net = TorchModel(network(dtype))
    with net.pruned([0, 4]):
        delta, want = net.export(), net.logits(X)
    nobody = Share.of([])
    repair = Repair(net.units, delta, (), -1, nobody, nobody, 0.01, nobody)
    repair.save(tmp_path / "delta.safetensors")
    other = network(dtype)
    apply_repair(other, files.load_file(tmp_path / "delta.safetensors"))
    np.testing.assert_array_equal(TorchModel(other).logits(X), want)
    if dtype == torch.bfloat16:
        with pytest.raises(ValueError, match=r"path must end in \.safetensors"):
            repair.save(tmp_path / "delta.npz")
    else:
        repair.save(tmp_path / "delta.npz")
        apply_repair(other, np.load(tmp_path / "delta.npz"), revert=True)
        assert all(torch.equal(a, b) for a, b in zip(other.parameters(), network().parameters(), strict=True))


def test_attributions_are_the_profile_and_the_input_saliency():
    net = TorchModel(network())
    assert isinstance(net.units, Units)
    by_unit = UnitAttribution(net)
    np.testing.assert_array_equal(by_unit.attribute(X, target=Y), net.profile(X, Y))
    np.testing.assert_array_equal(by_unit.attribute(X, target=2), net.profile(X, np.full(40, 2)))
    np.testing.assert_array_equal(by_unit.attribute(X), net.profile(X, "predicted"))
    reference = calibrate(net, Batches(X, Y), progress=False)
    found = InputAttribution(net, reference, k=2).attribute(X[:3], target=1)
    assert found.shape == (3, 1, 6, 6)
    np.testing.assert_array_equal(found[:, 0], input_saliency(net, X[:3], [1, 1, 1], reference, k=2))
    assert InputAttribution(net, reference, k=1).attribute(X[:1]).shape == (1, 1, 6, 6)
