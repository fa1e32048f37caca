"""What users hand over: masked arrays, other byte orders and types, dead channels, and things that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest

from evtkit import DSpot, FitStatus, GroupSketch, Spot, TailSketch, fit_gpd, fit_tail, gev, gpd
from evtkit._common.checks import real_array
from evtkit.dated import in_season
from evtkit.dependence import extremal_index
from evtkit.intervals import xi_interval
from evtkit.pvalues import combine_p_values

rng = np.random.default_rng(0)
PLAIN = rng.standard_exponential(600)
HOLES = PLAIN.copy()
HOLES[::7] = np.nan
MASKED = np.ma.masked_invalid(HOLES)
MASKED.data[::7] = 1e36  # what lies under a mask is no number

EQUAL = {
    "fit_tail": lambda x: fit_tail(x, quantile=0.9, missing="drop").xi,
    "fit_gpd": lambda x: fit_gpd(x).xi,
    "fit_gev": lambda x: gev.fit_gev(x).xi,
    "gpd.sf": lambda x: gpd.sf(x, 0.1, 1.0),
    "gpd.isf": lambda x: gpd.isf(x / 100.0, 0.1, 1.0),
    "gev.sf": lambda x: gev.sf(x, 0.1, 0.0, 1.0),
    "xi_interval": lambda x: xi_interval(x).lower,
    "Spot.fit": lambda x: Spot(nonfinite="skip", risk=1e-3).fit(x).alarm_threshold,
    "DSpot.fit": lambda x: DSpot(nonfinite="skip", risk=1e-3, depth=20).fit(x).alarm_threshold,
    "Spot.update": lambda x: Spot(nonfinite="skip", risk=1e-3).fit(PLAIN).update(x),
    "Spot.step": lambda x: [Spot(nonfinite="skip", risk=1e-3).fit(PLAIN).step(one) for one in x[:10]],
    "extremal_index": lambda x: extremal_index(x, 1.0),
}


@pytest.mark.parametrize("function", EQUAL.values(), ids=EQUAL)
def test_masked_is_missing(function):
    want = function(HOLES)
    assert np.array_equal(np.asarray(function(MASKED)), np.asarray(want), equal_nan=True)
    two = np.ma.array([MASKED, MASKED]).T
    if function not in (EQUAL["gpd.sf"], EQUAL["gpd.isf"], EQUAL["gev.sf"], EQUAL["Spot.update"], EQUAL["Spot.step"]):
        assert np.all(np.asarray(function(two)) == want)


REFUSED = {
    "fit_tail": lambda x: fit_tail(x, quantile=0.9),
    "TailSketch": lambda x: TailSketch(1, 50).update(x[:, None]),
    "Spot": lambda x: Spot().fit(x),
    "Tail.sf": lambda x: fit_tail(PLAIN, quantile=0.9).sf(x),
    "Spot.probability": lambda x: Spot().fit(PLAIN).probability(x),
    "combine_p_values": lambda x: combine_p_values(-x),
}


@pytest.mark.parametrize("function", REFUSED.values(), ids=REFUSED)
def test_masked_is_refused_where_nan_is(function):
    with pytest.raises(ValueError, match=r"(?i)nan|finite"):
        function(MASKED)


def test_masked_blocks_are_counted():
    sketch, other = TailSketch(2, 50, nonfinite="count"), TailSketch(2, 50, nonfinite="count")
    sketch.update(np.ma.array([MASKED, MASKED]).T)
    other.update(np.column_stack([HOLES, HOLES]))
    assert np.array_equal(sketch.largest(), other.largest())
    assert sketch.nonfinite_count.tolist() == [len(HOLES[::7])] * 2


def test_a_mask_on_integers_and_in_lists_counts_too():
    array = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    assert np.array_equal(real_array(array, "x"), [1.0, np.nan, 3.0], equal_nan=True)
    assert np.isnan(real_array([array, array], "x")).sum() == 2
    assert np.isnan(real_array(np.ma.masked, "x"))
    narrow = real_array(np.ma.array([1, 2], mask=[1, 0], dtype=np.float32), "x")
    assert narrow.dtype == np.float32
    assert np.isnan(narrow).tolist() == [True, False]


# -- types -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">f4", "<f4", "f2", "i1", "i2", "u2"])
def test_a_narrow_sketch_takes_what_it_can_hold(dtype):
    block = rng.integers(0, 120, (500, 2)).astype(dtype)
    sketch = TailSketch(2, 60, dtype=np.float32)
    sketch.update(block)
    plain = TailSketch(2, 60)
    plain.update(block.astype(float))
    assert np.array_equal(sketch.largest(), plain.largest())
    assert sketch.fit(quantile=0.9).xi.tolist() == plain.fit(quantile=0.9).xi.tolist()


@pytest.mark.parametrize("dtype", ["i4", "i8", "f8", ">f8"])
def test_a_narrow_sketch_refuses_what_it_would_round(dtype):
    with pytest.raises(ValueError, match="must be float32, as the sketch is"):
        TailSketch(2, 60, dtype=np.float32).update(np.ones((5, 2), dtype))


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", "i2", "u8", "f2", "longdouble"])
def test_numbers_of_any_type_are_numbers(dtype):
    x = np.round(PLAIN * 10).astype(dtype)
    assert fit_tail(x, quantile=0.9).xi == fit_tail(np.round(PLAIN * 10), quantile=0.9).xi
    assert gpd.sf(x, 0.1, 1.0) == pytest.approx(gpd.sf(x.astype(float), 0.1, 1.0))


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("cannot be an array " * 1000)


@pytest.mark.parametrize(
    "value",
    [dict.fromkeys(range(500), "x" * 100), "text", ["a", "b"], [[1.0], [1.0, 2.0]], Broken(), object(), [1j, 2j],
     np.array(["2020-01-01"], "M8[D]"), [True, False], [None, "1"], [{1: 2}], np.zeros(2, [("a" * 500, "f8")]), 10**400,
     [10**400], b"bytes"],
    ids=lambda value: type(value).__name__ if "0x" in str(value) else str(value)[:20],
)  # fmt: skip
@pytest.mark.parametrize(
    "function",
    [lambda x: fit_tail(x, quantile=0.9), fit_gpd, gev.fit_gev, lambda x: Spot().fit(x),
     lambda x: TailSketch(1, 5).update(x), lambda x: gpd.sf(x, 0.1, 1.0), lambda x: gev.sf(x, 0.1, 0.0, 1.0),
     lambda x: fit_tail(PLAIN, threshold=x), lambda x: fit_tail(PLAIN, quantile=0.9).sf(x), lambda x: gpd.sf(1, x, 1)],
    ids=["fit_tail", "fit_gpd", "fit_gev", "Spot", "TailSketch", "gpd", "gev", "threshold", "sf", "xi"],
)  # fmt: skip
def test_what_is_no_number_is_refused_in_short(function, value):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        function(value)
    assert len(str(refused.value)) < 330
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_tensors_that_need_a_gradient_say_how_to_give_their_numbers():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"x must be real numbers, got torch\.Tensor: .*detach"):
        fit_tail(torch.ones(50, requires_grad=True), quantile=0.9)
    assert fit_tail(torch.tensor(PLAIN), quantile=0.9).xi == fit_tail(PLAIN, quantile=0.9).xi


@pytest.mark.parametrize("wrong", [2.5, np.nan, np.inf, "3", -1, 0, 600, [3], None])
def test_counts_are_integers(wrong):
    if wrong is not None:
        with pytest.raises(ValueError, match="n_excess of 600 observations must be an integer"):
            fit_tail(PLAIN, n_excess=wrong)
    for arguments in ((wrong, 5), (5, wrong)):
        if wrong != 600 and arguments != (5, None):  # as many as there will be
            with pytest.raises(ValueError, match="must be an integer"):
                TailSketch(*arguments)


@pytest.mark.parametrize("text", ["abc", "0", "-1", "2.5", "", "²", " "])
def test_the_number_of_threads_in_the_environment_is_a_number(monkeypatch, text):
    monkeypatch.setenv("EVTKIT_NUM_THREADS", text)
    with pytest.raises(ValueError, match="EVTKIT_NUM_THREADS must be a positive integer, got"):
        fit_gpd(rng.standard_exponential((400, 400)))


# -- channels that are dead or short -----------------------------------------------------------------------------------


def _channels() -> np.ndarray:
    x = rng.standard_exponential((300, 5))
    x[:, 1] = np.nan
    x[3:, 2] = np.nan
    x[1:, 3] = np.nan
    x[:, 4] = 7.0
    return x


@pytest.mark.parametrize("request_", [{"quantile": 0.9}, {"n_excess": 20}, {"threshold": 1.0}], ids=str)
@pytest.mark.parametrize("side", ["upper", "lower"])
def test_a_dead_or_short_channel_has_a_status_and_no_say_in_the_others(request_, side):
    x = _channels()
    tails = [fit_tail(x, missing="drop", side=side, **request_)]
    if side == "upper":
        sketch = TailSketch(5, 300, nonfinite="count")
        sketch.update(x)
        tails.append(sketch.fit(**request_))
    alone = fit_tail(x[:, 0], side=side, **request_)
    for tail in tails:
        assert tail.xi[0] == alone.xi
        assert tail.n.tolist() == [300, 0, 3, 1, 300]
        assert tail.status[1] == FitStatus.EMPTY
        assert tail.status[3] >= FitStatus.TOO_FEW
        assert tail.status[4] >= FitStatus.CONSTANT
        assert not np.any(tail.is_fitted[[1, 3]])
        assert repr(tail)


def test_nothing_but_dead_channels_is_refused():
    with pytest.raises(ValueError, match=r"missing|no observation"):
        fit_tail(np.full((5, 2), np.nan), quantile=0.5, missing="drop")
    with pytest.raises(ValueError, match="no observation"):
        TailSketch(2, 5, nonfinite="count").fit(quantile=0.9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupSketch(5).update(np.ma.array(["a", "b"], mask=[False, True]), [1.0, 2.0]), "1 masked"),
        (lambda: GroupSketch(5).update(np.ma.array([1, 2], mask=[True, True]), [1.0, 2.0]), "2 masked"),
        (lambda: in_season(np.ma.array(np.arange(2).astype("M8[D]"), mask=[True, False]), "DJF"), "1 masked"),
    ],
)
def test_masked_keys_and_times_are_missing_too(call, message):
    with pytest.raises(ValueError, match=message):
        call()
