import numpy as np
import pytest

from evtkit.saliency import Batches, held_out_split
from evtkit.saliency.toy import samples


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_hold_every_sample_once_in_order(size):
    x, y = samples(20)
    parts = list(Batches(x, y, size))
    assert np.array_equal(np.concatenate([part for part, _ in parts]), x)
    assert np.array_equal(np.concatenate([labels for _, labels in parts]), y)
    assert all(len(labels) == size for _, labels in parts[:-1])


def test_batches_cut_tuples_and_mappings():
    x = (np.arange(6), {"a": np.arange(6.0), "b": [np.arange(6), np.arange(6)]})
    (first, named), y = Batches(x, np.arange(6), 4)[-1]
    assert first.tolist() == named["a"].tolist() == named["b"][1].tolist() == y.tolist() == [4, 5]


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.9])
def test_split_is_a_partition_and_keeps_classes_alike(share):
    y = np.random.default_rng(0).integers(5, size=400)
    parts = held_out_split(y, share, seed=3)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(400))
    for label in range(5):
        assert abs(np.count_nonzero(y[parts[1]] == label) - share * np.count_nonzero(y == label)) <= 1.0
    assert all(np.array_equal(a, b) for a, b in zip(parts, held_out_split(y, share, seed=3), strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Batches(np.zeros(3), np.zeros(2)), "got 3 and 2"),
        (lambda: Batches(np.zeros(0), np.zeros(0)), "got 0 and 0"),
        (lambda: Batches(np.zeros(3), np.zeros(3), 0), "batch size must be at least 1, got 0"),
        (lambda: held_out_split([0, 1], 0.0), "share must .*got 0.0"),
        (lambda: held_out_split([0], 0.5), "got 1 samples"),
        (lambda: held_out_split([0.5, 1.0]), "must be integers"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
