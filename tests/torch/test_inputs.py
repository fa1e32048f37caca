"""What goes in: tensors, arrays, tuples, dicts; labels and losses; and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from rounding import additions, assert_close
from torch import nn
from torch.nn import functional

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(5, 6, generator=GENERATOR)
Y = np.array([0, 1, 2, 1, 0])
TERMS = additions((4, 6), (3, 4), (4, 1), (3, 1))  # of `Net` below


class Net(nn.Module):
    def __init__(self, output=lambda logits: logits):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.output = output

    def forward(self, left, right=None):
        return self.output(self.head(torch.tanh(self.inner(left if right is None else left + right))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TorchModel(Net().eval(), units="rows")


def test_tensors_arrays_tuples_and_dicts_are_one(net):
    want = net.profile(X, Y)
    assert want.shape == (5, 7)
    assert want.dtype == np.float32
    half = X / 2
    same = [X.numpy(), X.double(), X.numpy().astype(np.float64), (X,), [X], {"left": X}, (half, half.numpy())]
    same += [{"left": half, "right": half}]
    for x in same:
        assert_close(net.profile(x, Y), want, TERMS)
    for y in (Y.tolist(), torch.from_numpy(Y), Y.astype(np.uint8), Y.astype(np.int32)):
        assert_close(net.profile(X, y), want, TERMS)


def test_the_input_is_left_alone(net):
    x = X.clone().requires_grad_()
    net.profile(x, Y)
    assert x.grad is None
    assert x.requires_grad


def test_it_works_under_no_grad_and_inference_mode(net):
    want = net.profile(X, Y)
    with torch.no_grad():
        assert_close(net.profile(X, Y), want, TERMS)
    with torch.inference_mode():
        assert_close(net.profile(X * 1, Y), want, TERMS)
        assert_close(net.predict(X), net.predict(X), TERMS)


@pytest.mark.parametrize("micro_batch", [1, 2, 5, 99])
def test_micro_batches_change_nothing(net, micro_batch):
    part = TorchModel(net.model, units="rows", micro_batch=micro_batch)
    for x in (X, (X / 2, X / 2), {"left": X}):
        assert_close(part.profile(x, Y), net.profile(x, Y), TERMS)
        assert_close(part.predict(x), net.predict(x), TERMS)


@pytest.mark.parametrize("output", [lambda z: SimpleNamespace(logits=z), lambda z: {"logits": z, "loss": 0}])
def test_logits_inside_an_output(net, output):
    other = TorchModel(Net(output).eval(), units="rows")
    other.model.load_state_dict(net.model.state_dict())
    assert_close(other.profile(X, Y), net.profile(X, Y), TERMS)
    assert_close(other.predict(X), net.predict(X), TERMS)


def test_predictions_are_the_softmax_of_logits(net):
    with torch.no_grad():
        want = net.model(X)
    assert_close(net.logits(X), want.numpy(), TERMS)
    assert_close(net.predict(X), want.softmax(1).numpy(), TERMS)
    assert_close(net.predict(X).sum(1), np.ones(5, np.float32), TERMS)


def test_the_predicted_label(net):
    assert_close(net.profile(X, "predicted"), net.profile(X, net.predict(X).argmax(1)), TERMS)


def test_a_profile_is_taylors_unless_it_is_said(net):
    assert net.reduction == "taylor"
    want = TorchModel(net.model, units="rows", reduction="taylor").profile(X, Y)
    assert_close(net.profile(X, Y), want, TERMS)


def test_a_loss_of_ones_own(net):
    def squared(output, target):
        return (output - target).square().sum(1)

    target = torch.randn(5, 3, generator=GENERATOR)
    got = TorchModel(net.model, squared, units="rows", reduction="mean-abs").profile(X, target)
    for i in range(5):
        loss = (net.model(X[i : i + 1]) - target[i]).square().sum()
        want = torch.cat(
            [g.abs().mean(1) for g in torch.autograd.grad(loss, [net.model.inner.weight, net.model.head.weight])]
        )
        assert_close(got[i], want.numpy(), TERMS)

    def confidence(output, target):  # needs no target
        return output.logsumexp(1)

    assert TorchModel(net.model, confidence, units="rows").profile(X).shape == (5, 7)


def test_a_summed_loss_under_reduction_none_is_the_default(net):
    other = TorchModel(net.model, lambda o, t: functional.cross_entropy(o, t, reduction="none"), units="rows")
    assert_close(other.profile(X, Y), net.profile(X, Y), TERMS)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y + 1, "labels must lie in .*got 1 to 3"),
        (X, Y - 1, "got -1 to 1"),
        (X, Y[:3], "targets must be 5.* got 3"),
        (X, Y + 0.5, "must be integers"),
        (X, None, "y must be .*got None"),
        (X, "true", "or 'predicted'"),
        (X, (Y, Y), "y must be .*got tuple"),
        (X[:0], Y[:0], "must have one number of samples above 0"),
        ((X, X[:3]), Y, "got \\[5, 3\\]"),
        ("x", Y, "x must be an array, a tensor"),
        (X * float("nan"), Y, "losses must be finite, got others for samples"),
    ],
    ids=[
        "too large",
        "negative",
        "too few",
        "floats",
        "none",
        "unknown word",
        "tuple",
        "empty",
        "ragged",
        "text",
        "nan",
    ],
)
def test_bad_input_is_refused(net, x, y, message):
    with pytest.raises(ValueError, match=message):
        net.profile(x, y)


def test_outputs_that_are_no_logits_are_refused():
    with pytest.raises(ValueError, match="must be a tensor or an object with `logits`"):
        TorchModel(Net(lambda z: (z, z)).eval(), units="rows").profile(X, Y)
    with pytest.raises(ValueError, match="must be integers of shape \\(5, 1\\)"):
        TorchModel(Net(lambda z: z[:, :, None]).eval(), units="rows").profile(X, Y)


def test_the_device_may_be_given(net):
    assert TorchModel(net.model, units="rows", device="cpu").profile(X, Y).shape == (5, 7)
