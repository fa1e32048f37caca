"""The evidence's own parts: damage is undone, ranks are fair, tables are whole, and every step is a script."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

FOLDER = Path(__file__).parents[1] / "examples" / "evidence"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:  # their names are common words
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_damage_touches_one_unit_and_is_undone():
    import faults
    from architectures import SmallViT
    from evtkit_torch import TorchModel

    network = SmallViT(width=16, depth=1, heads=2).eval()
    net = TorchModel(network, units=["heads", "rows", "filters"])
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for unit in (0, len(net.units) - 1, int(np.flatnonzero(net.units.kind == "heads")[1])):
        parts = faults.weights_of(network, net.units, unit)
        assert sum(part.numel() for part in parts) == net.units.size[unit]
        own = net.unit_norms([unit])[0]
        for kind in faults.KINDS:
            with faults.damage(parts, kind, np.random.default_rng(0)):
                changed = [n for n, p in network.named_parameters() if not torch.equal(p, before[n])]
                assert 1 <= len(changed) <= 2
                others = np.flatnonzero(
                    (net.units.module == net.units.module[unit]) & (net.units.index != net.units.index[unit])
                )
                kept = TorchModel(network, units=["heads", "rows", "filters"]).unit_norms(others)
                factor = {"flip": 1.0, "scale": 5.0, "zero": 0.0}.get(kind)
                if factor is not None:
                    assert net.unit_norms([unit])[0] == pytest.approx(factor * own, rel=1e-5)
            assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
            np.testing.assert_array_equal(kept, net.unit_norms(others))


def test_weights_come_back_after_an_exception():
    import faults

    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    with pytest.raises(KeyError), faults.damage([layer.weight.detach()[1]], "scale", np.random.default_rng(0)):
        raise KeyError
    assert torch.equal(layer.weight, before)


def test_equal_scores_share_their_middle_rank():
    from found import place

    assert place(np.array([3.0, 1.0, 2.0]), 0) == 1.0
    assert place(np.array([3.0, 1.0, 2.0]), 1) == 3.0
    assert [place(np.zeros(5), unit) for unit in range(5)] == [3.0] * 5


def test_tables_are_written_whole_and_bands_hold_their_mean(tmp_path):
    from tables import band, read, write

    write(tmp_path / "a" / "t.csv", ("name", "x"), [("one", 1.23456789), ("two", 7)])
    assert read(tmp_path / "a" / "t.csv") == [{"name": "one", "x": "1.235"}, {"name": "two", "x": "7"}]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["t.csv"]
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "a" / "t.csv", ("name",), ([1 / zero] for zero in (1, 0)))
    assert len(read(tmp_path / "a" / "t.csv")) == 2  # the old one
    mean, low, high = band(np.arange(100.0))
    assert low < mean == 49.5 < high
    assert band(np.ones(4)) == (1.0, 1.0, 1.0)


def test_corruptions_keep_shape_and_range_and_are_seeded():
    import samples

    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for how in samples.CORRUPTIONS:
        changed = samples.corrupt(images, how)
        assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
        assert not np.array_equal(changed, images)
        assert np.array_equal(changed, samples.corrupt(images, how))
    with pytest.raises(ValueError, match="got 'fog', wanted one of"):
        samples.corrupt(images, "fog")


def test_every_step_is_a_script_with_a_log_of_its_own():
    import run
    import settings

    lines = run.steps()
    assert len({" ".join(line) for line in lines}) == len(lines)
    assert all((FOLDER / line[0]).exists() for line in lines)
    assert set(run.REPAIRS) == set(run.FAULTS) == set(settings.NAMES)
