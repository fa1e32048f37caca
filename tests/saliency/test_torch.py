"""With PyTorch: input saliency, the demo, and published networks end to end."""

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from evtkit_torch import TorchModel  # noqa: E402
from evtkit_torch.input_saliency import input_saliency  # noqa: E402

from evtkit.demo import network as demo  # noqa: E402
from evtkit.saliency import Batches, calibrate, evaluate, held_out_split, suspects  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(
    scope="module",
    params=[(None, "mean-abs"), ("sample", "mean-abs"), (None, "taylor"), ("sample", "taylor")],
    ids=str,
)
def small(request):
    normalize, reduction = request.param
    torch.manual_seed(0)
    cnn = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Tanh(), torch.nn.Conv2d(4, 6, 3), torch.nn.Tanh(),
        torch.nn.Flatten(), torch.nn.Linear(96, 3),
    )  # fmt: skip
    net = TorchModel(cnn.double().eval(), reduction=reduction)
    x, y = torch.randn(80, 2, 8, 8, dtype=torch.float64), torch.arange(80) % 3
    return net, x, y, calibrate(net, Batches(x, y, 20), normalize=normalize, progress=False)


def cosine(net, x, y, reference, units, fixed):
    profile = net.profile(x, y)[0]
    if reference.normalize:
        profile = profile / np.abs(profile).mean()
    z = (profile - reference.tail.mean) / reference.tail.std
    if fixed is None:
        fixed = z.copy()
        fixed[units] *= 100
    return z @ fixed / np.linalg.norm(z) / np.linalg.norm(fixed), fixed


def test_input_saliency_is_the_slope_of_the_cosine_similarity(small):
    net, x, y, reference = small
    units = [1, 5, 8]
    heat = input_saliency(net, x[:2], y[:2], reference, units=units)
    assert heat.shape == (2, 8, 8)
    _, fixed = cosine(net, x[:1], y[:1], reference, units, None)
    for row, column in ((0, 0), (3, 4), (7, 2)):
        slopes = []
        for channel in range(2):
            ends = []
            for h in (1e-5, -1e-5):
                moved = x[:1].clone()
                moved[0, channel, row, column] += h
                ends.append(cosine(net, moved, y[:1], reference, units, fixed)[0])
            slopes.append(abs(ends[0] - ends[1]) / 2e-5)
        assert heat[0, row, column] == pytest.approx(max(slopes), rel=1e-4, abs=1e-9)


def test_input_saliency_boosts_each_samples_own_units_and_leaves_the_network_alone(small):
    net, x, y, reference = small
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    own = input_saliency(net, x[:3], y[:3], reference, k=2)
    z = reference.rank(net.profile(x[:3], y[:3]), "zscore", combine="each").top(2)
    for i in range(3):
        one = input_saliency(net, x[i : i + 1], y[i : i + 1], reference, units=z[i])
        np.testing.assert_allclose(own[i], one[0], rtol=1e-9)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.model.parameters())


def test_input_saliency_refuses_what_it_cannot_do(small):
    net, x, y, reference = small
    with pytest.raises(ValueError, match=r"k must .*got 11"):
        input_saliency(net, x[:1], y[:1], reference, k=11)
    other = TorchModel(torch.nn.Sequential(torch.nn.Conv2d(2, 3, 8), torch.nn.Flatten()).double().eval())
    with pytest.raises(ValueError, match="reference must be for"):
        input_saliency(other, x[:1], y[:1], reference)
    other = TorchModel(net.model, reduction="l2")
    with pytest.raises(ValueError, match=f"by l2, got .* by {net.reduction}"):
        input_saliency(other, x[:1], y[:1], reference)


def test_a_data_loader_will_do_and_one_that_shuffles_cannot_go_on_from_a_checkpoint(small, tmp_path):
    from torch.utils.data import DataLoader, TensorDataset

    net, x, y, reference = small
    loader = DataLoader(TensorDataset(x, y), batch_size=20)
    state = tmp_path / "state.npz"
    again = calibrate(net, loader, normalize=reference.normalize, checkpoint=state, progress=False)
    assert np.array_equal(again.tail.xi, reference.tail.xi, equal_nan=True)
    shuffling = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="a loader that shuffles"):
        calibrate(net, shuffling, normalize=reference.normalize, checkpoint=state, progress=False)


def test_saliency_needs_no_torch():
    code = (
        "import sys, evtkit.saliency as s; [getattr(s, name) for name in s.__all__]; import evtkit.cli.saliency, "
        "evtkit.demo.network; assert not {'torch', 'sklearn', 'jinja2', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_face_loads_nothing():
    code = "import sys, evtkit.saliency; assert not {'numba', 'scipy', 'tqdm', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_what_they_say_however_they_were_imported():
    code = (
        "from evtkit.saliency.calibration import calibrate as a; import evtkit.saliency.evaluation; "
        "from evtkit.saliency import calibrate, evaluate, report; assert calibrate is a; assert callable(evaluate); "
        "assert callable(report)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_demo_finds_repairs_and_reports(tmp_path, monkeypatch):
    for name in ("sklearn", "jinja2", "matplotlib"):
        pytest.importorskip(name)
    for name, value in (("_MANY", 3), ("_HELD_OUT", 40), ("_PRUNE", (5,)), ("_TUNE", (5,))):
        monkeypatch.setattr(demo, name, value)
    state = torch.random.get_rng_state()
    text = demo.run(tmp_path / "out", progress=False)
    assert torch.equal(state, torch.random.get_rng_state())
    assert {"saliency.html", "repair.csv", "reference.npz"} <= {file.name for file in (tmp_path / "out").iterdir()}
    for words in ("go wrong", "stage1.0[4]", "in place", "read right", "unseen mistakes corrected"):
        assert words in text
    assert "tune_equal" in (tmp_path / "out" / "repair.csv").read_text()


def images(data, name, rows):
    import networks

    with np.load(data / "images" / f"{name}.npz") as file:
        return networks.standardise_cifar(torch.from_numpy(file["x"][rows])), file["y"][rows].astype(np.int64)


@pytest.mark.parametrize(("depth", "filters"), [(20, 688), (56, 2032)])
def test_published_networks_calibrate_rank_and_repair(data, depth, filters):
    pytest.importorskip("safetensors")
    import networks

    network = networks.load(networks.cifar_resnet(depth), data / "weights" / f"cifar10_resnet{depth}.safetensors")
    network.double()  # batches of another size are summed in another order
    net = TorchModel(network, reduction="mean-abs")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x, y = images(data, "cifar10_train10k", slice(0, 40))
    reference = calibrate(net, Batches(x, y, 20), normalize=None, progress=False)
    assert len(reference.units) == filters
    assert set(reference.units.stage) == {"conv1", "layer1", "layer2", "layer3"}
    others = calibrate(net, Batches(x, y, 13), normalize=None, progress=False)
    np.testing.assert_allclose(reference.tail.threshold, others.tail.threshold, rtol=1e-9, atol=1e-15)

    xs, ys = images(data, "cifar10_natural_shift", slice(None, None, 120))
    wrong = np.flatnonzero(net.predict(xs).argmax(1) != ys)[:6]
    profiles = net.profile(xs[wrong], ys[wrong])
    ranking = reference.rank(profiles, "pot")
    assert len(ranking.top(25)) == 25
    dead = np.flatnonzero(~ranking.fitted)
    assert set(ranking.order[len(ranking) - len(dead) :]) == set(dead)
    first, _ = held_out_split(ys[wrong], 0.5)
    results = evaluate(
        net, reference, (xs[wrong[first]], ys[wrong[first]]), held_out=(x[:10], y[:10]), by=("pot", "random"),
        prune=(25,), tune=(25,), collateral_k=(25,), step=1e-2, n_boot=20, progress=False,
    )  # fmt: skip
    assert results.curves["tune"].true[0].mean() > 0  # a step down the sample's own loss helps the true class
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_rankings_of_a_published_network_do_not_depend_on_the_batch(data):
    pytest.importorskip("safetensors")
    import networks

    network = networks.load(networks.cifar_resnet(20), data / "weights" / "cifar10_resnet20.safetensors").double()
    net = TorchModel(network)
    x, y = images(data, "cifar10_train10k", slice(0, 24))
    orders = []
    for size in (24, 7):
        batches = Batches(x.double(), y, size)
        reference = calibrate(net, batches, progress=False)
        orders.append(reference.rank(np.concatenate([net.profile(*b) for b in batches]), combine="each").order[:, :25])
    assert np.array_equal(*orders)


@pytest.mark.slow
def test_mistakes_under_a_shift_accuse_no_unit_of_a_sound_network():
    torch.manual_seed(0)
    cnn = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3, padding=1, bias=False), torch.nn.BatchNorm2d(12), torch.nn.ReLU6(),
        torch.nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), torch.nn.BatchNorm2d(12), torch.nn.ReLU6(),
        torch.nn.Conv2d(12, 16, 1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU6(),
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(64, 4),
    )  # fmt: skip
    x, rng = torch.randn(1500, 1, 8, 8), np.random.default_rng(0)
    with torch.no_grad():
        for _ in range(30):
            cnn.train()(x)  # the norms learn their statistics
        scores = cnn.eval()(x)
        cnn[-1].weight *= 4.0 / (scores - scores.mean(0)).std()
        cnn[-1].bias -= cnn(x).mean(0)
    net = TorchModel(cnn)
    true = net.predict(x).argmax(axis=1)
    y = np.where(rng.random(len(x)) < 0.1, rng.integers(4, size=len(x)), true)
    reference = calibrate(net, Batches(x[:1000], y[:1000]), progress=False)
    x, true, named = x[1000:], true[1000:], []
    for moved in (x + 1, x + 2, 0.2 * x, x.abs()):
        wrong = np.flatnonzero(net.predict(moved).argmax(axis=1) != true)
        found = [suspects(net, reference, (moved[rows], true[rows])) for rows in (wrong[:10], wrong[10:20])]
        named += [len(one.found) for one in found]
    assert np.count_nonzero(named) <= 2, named  # binomial(8, 0.05): more with a probability of 0.6 %


def test_what_an_emptied_filter_silences_is_not_named_beside_it():
    torch.manual_seed(0)
    cnn = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3, padding=1, bias=False), torch.nn.ReLU(),
        torch.nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(48, 4),
    ).eval()  # fmt: skip
    x, rng = torch.randn(1200, 1, 8, 8), np.random.default_rng(0)
    with torch.no_grad():
        scores = cnn(x)
        cnn[-1].weight *= 4.0 / (scores - scores.mean(0)).std()
        cnn[-1].bias -= cnn(x).mean(0)
    net = TorchModel(cnn)
    true = net.predict(x).argmax(axis=1)
    y = np.where(rng.random(len(x)) < 0.1, rng.integers(4, size=len(x)), true)
    reference = calibrate(net, Batches(x[:800], y[:800]), progress=False)
    with torch.no_grad():
        cnn[0].weight[5] = 0.0
    wrong = np.flatnonzero(net.predict(x[800:]).argmax(axis=1) != true[800:])[:10] + 800
    found = suspects(net, reference, (x[wrong], true[wrong]))
    silenced = found.units.names.tolist().index("2[5]")
    assert found.silence[found.order.tolist().index(silenced)] < 0.01  # nothing enters it any more
    assert found.units.names[found.found].tolist() == ["0[5]"]


def test_faults_of_every_kind_are_found_in_a_convolutional_network():
    from planted import KINDS, damaged

    torch.manual_seed(0)
    cnn = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3, padding=1, bias=False), torch.nn.BatchNorm2d(12), torch.nn.ReLU(),
        torch.nn.Conv2d(12, 16, 3, padding=1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(64, 4),
    )  # fmt: skip
    x, rng = torch.randn(1500, 1, 8, 8), np.random.default_rng(0)
    with torch.no_grad():
        cnn.train()(x)  # the norms learn their statistics
        cnn.eval()
        scores = cnn(x)
        cnn[-1].bias -= scores.mean(0)
        cnn[-1].weight *= 4.0 / (scores - scores.mean(0)).std()
        cnn[-1].bias *= 4.0 / (scores - scores.mean(0)).std()
    net = TorchModel(cnn)
    true = net.predict(x).argmax(axis=1)
    y = np.where(rng.random(len(x)) < 0.1, rng.integers(4, size=len(x)), true)
    reference = calibrate(net, Batches(x[:1000], y[:1000]), progress=False)
    weight, reciprocal = cnn[3].weight, []
    for kind in KINDS:
        for unit in (1, 6, 11):
            sound = weight[unit].detach().clone()
            with torch.no_grad():
                weight[unit] = torch.from_numpy(damaged(sound.numpy(), kind, rng))
            wrong = np.flatnonzero(net.predict(x[1000:]).argmax(axis=1) != true[1000:])[:10] + 1000
            found = net.units.names[suspects(net, reference, (x[wrong], true[wrong])).ranked]
            with torch.no_grad():
                weight[unit] = sound
            reciprocal.append(1.0 / (1 + found.tolist().index(f"3[{unit}]")))
    assert np.mean(reciprocal) >= 0.7, reciprocal  # of ten mistakes, in any one network
