"""One logit, several labels, numbers, a label a position: each has its loss, its predictions and its mistakes."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from evtkit_torch.input_saliency import input_saliency
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from evtkit.saliency import Batches, calibrate, evaluate, repair, suspects
from evtkit.saliency.tasks import losses, mistaken_among

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(size=(40, 5))).float()
STEPS = torch.from_numpy(RNG.normal(size=(40, 4, 5))).float()
TOKENS = torch.from_numpy(np.where(RNG.random((40, 4)) < 0.3, -100, RNG.integers(0, 3, (40, 4))))


def network(outputs=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, outputs)).eval()


def repaired(net, x, y, wrong=None):
    reference = calibrate(net, Batches(x, y, 20), progress=False)
    return evaluate(
        net, reference, (x[:8], y[:8]), held_out=(x[20:], y[20:]), by=("impact",), prune=(1,), tune=(2,), n_boot=5,
        collateral_k=(1,), progress=False, wrong=wrong,
    )  # fmt: skip


class Output:
    def __init__(self, logits):
        self.logits = logits


class Tagger(nn.Module):
    """Logits of tokens with the classes last, in an object, as the Transformers return them."""

    def __init__(self):
        super().__init__()
        self.body = network(3)

    def forward(self, steps):
        return Output(self.body(steps))


@pytest.mark.parametrize("squeezed", [False, True])
def test_a_single_logit_predicts_both_classes_of_any_labels(squeezed):
    model, truth = network(), X[:, 0] > 0
    net = TorchModel(nn.Sequential(model, nn.Flatten(0)) if squeezed else model, units="rows")
    logit = model(X).detach().numpy()[:, 0]
    np.testing.assert_allclose(net.predict(X)[:, 1], 1 / (1 + np.exp(-logit)), rtol=1e-5)
    want = net.profile(X, truth.long())
    for labels in (truth, truth.double(), truth[:, None], functional.one_hot(truth.long(), 2)):
        np.testing.assert_array_equal(net.profile(X, labels), want)
    own = TorchModel(
        net.model, lambda o, t: functional.binary_cross_entropy_with_logits(o.flatten(), t, reduction="none"), "rows"
    )
    np.testing.assert_allclose(own.profile(X, truth.double()), want, atol=1e-6)
    for each in (net, own):
        assert len(repaired(each, X, truth.double())) == np.count_nonzero((logit[:8] > 0) != truth[:8].numpy())


def test_one_hot_labels_are_their_classes_and_others_are_refused():
    net, y = TorchModel(network(3), units="rows"), torch.arange(40) % 3
    np.testing.assert_array_equal(net.profile(X, functional.one_hot(y, 3).double()), net.profile(X, y))
    for labels in (functional.one_hot(y, 3) * 0.9, functional.one_hot(y, 4), torch.ones(40, 3), y + 0.5):
        with pytest.raises(ValueError, match="labels must be integers of shape \\(40,\\)"):
            net.profile(X, labels)


def test_several_labels_at_once_have_a_cross_entropy_each():
    truth = torch.from_numpy(RNG.random((40, 3)) > 0.5).double()
    model = network(3)
    net = TorchModel(model, units="rows", task="labels")
    np.testing.assert_allclose(net.predict(X), torch.sigmoid(model(X)).detach(), rtol=1e-6)

    def loss(output, target):
        return functional.binary_cross_entropy_with_logits(output, target, reduction="none")

    np.testing.assert_allclose(
        net.profile(X, truth), TorchModel(model, loss, "rows", task="labels").profile(X, truth), atol=1e-7
    )
    assert len(repaired(net, X, truth)) == ((net.predict(X[:8]) > 0.5) != truth[:8].numpy()).any(1).sum()
    assert net.profile(X, "predicted").shape == (40, 7)


def test_numbers_have_a_squared_error_and_a_wrong_of_their_own():
    model, truth = network(), X[:, 1].double()
    net = TorchModel(model, units="rows", task="values")
    own = TorchModel(model, lambda o, t: (o[:, 0] - t) ** 2, "rows", task="values")
    np.testing.assert_allclose(net.profile(X, truth), own.profile(X, truth), rtol=1e-5, atol=1e-7)
    results = repaired(net, X, truth, lambda predicted, y: np.abs(predicted[:, 0] - y.numpy()) > 0.5)
    assert len(results) == np.count_nonzero(np.abs(net.predict(X[:8])[:, 0] - truth[:8].numpy()) > 0.5)
    assert np.isnan(results.curves["prune"].wrong).all()
    with pytest.raises(ValueError, match="wrong= must be given"):
        repaired(net, X, truth)
    with pytest.raises(ValueError, match="task must be one of"):
        TorchModel(model, units="rows", task="numbers")


def test_a_samples_loss_is_the_mean_over_the_positions_that_count():
    net = TorchModel(Tagger().eval(), units="rows")
    assert net.predict(STEPS).shape == (40, 4, 3)
    np.testing.assert_allclose(net.predict(STEPS).sum(2), 1, rtol=1e-6)
    profile = net.profile(STEPS, TOKENS)

    def loss(output, target):
        return functional.cross_entropy(output.logits.transpose(1, 2), target, reduction="none")

    np.testing.assert_allclose(TorchModel(net.model, loss, "rows").profile(STEPS, TOKENS), profile, atol=1e-7)
    counted = torch.nonzero(TOKENS[0] >= 0).flatten().tolist()
    alone = [net.profile(STEPS[:1, [i]], TOKENS[:1, [i]])[0] for i in counted]
    np.testing.assert_allclose(np.mean(alone, 0), profile[0], atol=1e-6)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\], got -1 to"):
        net.profile(STEPS, TOKENS.clamp(min=-1))
    pixels = TorchModel(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)))
    x, y = torch.randn(3, 1, 5, 5), torch.randint(3, (3, 5, 5))
    assert pixels.predict(x).shape == (3, 3, 5, 5)
    assert pixels.profile(x, y).shape == (3, 7)


def test_targets_may_be_tuples_and_dicts():
    model, truth = network(2), (X[:, 0], X[:, 1])
    net = TorchModel(model, lambda o, t: (t[0] - o[:, 0]) ** 2 + (t[1] - o[:, 1]) ** 2, "rows", micro_batch=7)
    named = TorchModel(model, lambda o, t: (t["a"] - o[:, 0]) ** 2 + (t["b"] - o[:, 1]) ** 2, "rows", micro_batch=7)
    want = net.profile(X, truth)
    np.testing.assert_array_equal(named.profile(X, {"a": truth[0], "b": truth[1]}), want)
    assert calibrate(net, Batches(X, truth, 20), progress=False).n_seen == 40
    with pytest.raises(ValueError, match="targets must be 40, one a sample, got 3"):
        net.profile(X, (truth[0], truth[1][:3]))


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, torch.arange(40) % 3, strict=True)


def test_loaders_of_every_kind_are_counted_or_refused_in_a_line():
    net, y = TorchModel(network(3), units="rows"), torch.arange(40) % 3
    data = TensorDataset(X, y)
    again = DataLoader(data, 16, sampler=WeightedRandomSampler(torch.ones(40), 100))
    assert calibrate(net, again, progress=False).n_seen == 100
    stream = DataLoader(Stream(), 16)
    with pytest.raises(ValueError, match="n_samples= must be given"):
        calibrate(net, stream, progress=False)
    want = calibrate(net, DataLoader(data, 16), progress=False)
    got = calibrate(net, stream, n_samples=40, progress=False)
    weighted = calibrate(net, DataLoader(TensorDataset(X, y, torch.ones(40)), 16), progress=False)
    named = [{"input": x, "labels": labels} for x, labels in DataLoader(data, 16)]
    named = calibrate(net, named, progress=False)
    for each in (got, weighted, named):
        np.testing.assert_array_equal(each.tail.threshold, want.tail.threshold)


def test_a_step_that_rounding_swallows_is_told_once():
    net, y = TorchModel(network(3).bfloat16(), units="rows"), torch.arange(40) % 3
    with (
        pytest.warns(UserWarning, match=r"the step is lost to rounding in \d+ of the 32 weights"),
        net.tuned(range(7), X, y, step=1e-5),
    ):
        pass
    with net.tuned(range(7), X, y, step=1e-5):  # told already
        pass
    with TorchModel(net.model, units="rows").tuned(range(7), X, y, step=10.0):  # large enough
        pass
    with TorchModel(net.model.float(), units="rows").tuned(range(7), X, y, step=1e-5):
        pass


@pytest.mark.parametrize("channels", ["largest", "signed"])
def test_input_saliency_takes_the_channels_by_size_or_as_levin_et_al(channels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)).double().eval()
    x, y = torch.randn(30, 3, 5, 5).double(), torch.arange(30) % 3
    net = TorchModel(model, reduction="mean-abs")
    reference = calibrate(net, Batches(x, y), normalize=None, progress=False)
    found = input_saliency(net, x[:2], y[:2], reference, units=[1], channels=channels)

    def cosine(image):
        return (net.profile(image, y[:1])[0] - reference.tail.mean) / reference.tail.std

    fixed = cosine(x[:1])
    fixed[1] *= 100
    for row, column in ((0, 0), (2, 3)):
        slopes = []
        for channel in range(3):
            ends = []
            for step in (1e-6, -1e-6):
                moved = x[:1].clone()
                moved[0, channel, row, column] += step
                z = cosine(moved)
                ends.append(z @ fixed / np.linalg.norm(z) / np.linalg.norm(fixed))
            slopes.append((ends[0] - ends[1]) / 2e-6)
        want = abs(max(slopes)) if channels == "signed" else max(map(abs, slopes))
        assert found[0, row, column] == pytest.approx(want, rel=1e-4, abs=1e-9)
    with pytest.raises(ValueError, match="channels must be 'largest' or 'signed', got 'max'"):
        input_saliency(net, x[:1], y[:1], reference, k=1, channels="max")


class Heads(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.body, self.form = network(5), form

    def forward(self, x):
        y = self.body(x)
        return self.form(y[:, :3], y[:, 3:])


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda a, b: (b, a), 1),
        (lambda a, b: {"value": b, "kind": a}, "kind"),
        (lambda a, b: type("Two", (), {"value": b, "kind": a})(), "kind"),
    ],
)
def test_an_output_is_chosen_by_name_or_place(form, output):
    y = RNG.integers(0, 3, 40)
    alone = TorchModel(Heads(lambda a, b: a), units="rows")
    net = TorchModel(Heads(form), units="rows", output=output)
    np.testing.assert_array_equal(net.profile(X, y), alone.profile(X, y))
    np.testing.assert_array_equal(net.predict(X), alone.predict(X))
    with pytest.raises(ValueError, match=r"output must name one of the network's outputs, .* got 'nothing'"):
        TorchModel(Heads(form), units="rows", output="nothing").predict(X)


def test_an_output_of_several_asks_for_a_name():
    with pytest.raises(ValueError, match=r"or output= name one, got dict \['a', 'b'\]"):
        TorchModel(Heads(lambda a, b: {"a": a, "b": b}), units="rows").predict(X)


def far(predictions, y):
    return np.abs(predictions[:, 0] - np.asarray(y)) > 0.2


@pytest.mark.parametrize("task", ["values", "labels", "a loss of one's own"])
def test_suspects_and_repair_know_any_task(task):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(1200, 5))).float()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 1 if task == "values" else 3)).eval()
    with torch.no_grad():
        model[2].weight *= 3
        truth = model(x)
    if task == "values":
        kind, wrong, loss = "values", far, None
        y = (truth[:, 0] + 0.08 * torch.randn(1200)).numpy()
    else:
        flip = torch.rand(1200, 3) < 0.01
        y, wrong, loss = ((truth > 0) ^ flip).numpy(), None, None
        kind = "labels"
        if task != "labels":
            kind, wrong = "values", lambda predictions, y: ((predictions > 0) != np.asarray(y)).any(axis=1)
            loss = lambda o, t: functional.binary_cross_entropy_with_logits(o, t.float(), reduction="none").sum(1)  # noqa: E731
    net = TorchModel(model, loss, "rows", task=kind)
    reference = calibrate(net, Batches(x[:600], y[:600]), progress=False, wrong=wrong)
    with torch.no_grad():
        model[0].weight[7] *= -4
    bad = mistaken_among(net, x, y, wrong)
    found = suspects(net, reference, (x[600:][bad[600:]][:20], y[600:][bad[600:]][:20]), wrong=wrong)
    assert found.order[0] == 7
    mended = repair(net, reference, (x[bad][:60], y[bad][:60]), (x[~bad], y[~bad]), units=[7], wrong=wrong, budget=0.05)
    assert mended.corrected.value > 0.3
    mended.apply(net)
    assert mistaken_among(net, x, y, wrong).mean() < 0.6 * bad.mean()


def test_losses_are_those_of_the_task():
    model, y = network(3), RNG.integers(0, 3, 40)
    want = functional.cross_entropy(model(X), torch.from_numpy(y), reduction="none").detach().numpy()
    net = TorchModel(model, units="rows", micro_batch=7)
    np.testing.assert_allclose(net.losses(X, y), want, rtol=1e-5)
    np.testing.assert_allclose(losses(net, X, y), want, rtol=1e-5)
    values = TorchModel(model, units="rows", task="values")
    np.testing.assert_allclose(losses(values, X, model(X).detach() + 2), 4.0, rtol=1e-5)
