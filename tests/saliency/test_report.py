"""Pictures, and the page that holds them."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evtkit import plot
from evtkit.saliency import evaluate, report
from evtkit.saliency.toy import Toy, samples

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def ranking(reference):
    return reference.rank(Toy().profile(*samples(40, seed=5)))


@pytest.fixture(scope="module")
def results(reference):
    return evaluate(
        Toy(), reference, samples(40, seed=5), held_out=samples(30, seed=9), prune=(1, 5), tune=(1, 5), n_boot=20,
        progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(reference, ranking, results, tmp_path_factory):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().plot([1, 2])
    path = report(
        tmp_path_factory.mktemp("report") / "report.html", reference, ranking=ranking, results=results,
        families=reference.compare_families(), pictures=[(figure, "a caption & more")],
        notes=["<script>alert(1)</script>"],
        title="<b>Toys</b>", k=5,
    )  # fmt: skip
    return path.read_text()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_self_contained_and_well_formed(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert all(source.startswith("data:image/png;base64,") for source in tags.sources)
    assert not {"script", "link", "iframe", "object"} & set(tags.seen)
    assert not re.search(r"https?://|@import|url\(", page)
    assert tags.seen.count("img") == 4


def test_page_escapes_what_it_is_given(page):
    assert "&lt;script&gt;" in page
    assert "<b>Toys</b>" not in page
    assert "a caption &amp; more" in page


def test_page_says_what_was_found(page, ranking, reference):
    for unit in ranking.top(5):
        assert str(ranking.units.names[unit]) in page
    assert reference.coverage in page
    for words in (
        "11 OK",
        "1 EMPTY",
        "1 units have no fitted tail",
        "held-out lost",
        "stage",
        "AIC",
    ):
        assert words in page


def test_page_says_what_the_ranking_is_by_and_claims_a_place_only_where_there_is_one(
    reference, ranking, page, tmp_path
):
    assert "By impact, mean over 40 mistakes. Impact is saliency times its surprise" in page
    assert f"<td>{ranking.score[ranking.order[0]]:.3g}</td>" in page
    assert "ranked last" not in page
    pot = reference.rank(Toy().profile(*samples(40, seed=5)), "pot")
    other = report(tmp_path / "a.html", reference, ranking=pot).read_text()
    assert "By pot, mean-rank over 40 mistakes. “Above in”" in other
    assert "They are ranked last" in other


def test_page_of_a_reference_alone_and_of_one_sample(reference, tmp_path):
    alone = report(tmp_path / "a.html", reference).read_text()
    assert "What was calibrated" in alone
    assert "Repair" not in alone
    profile = np.where(np.arange(12) == 4, 1e3, 0.0)
    one = report(tmp_path / "b.html", reference, ranking=reference.rank(profile)).read_text()
    assert "Only 1 units are above their threshold" in one


def test_page_needs_one_ranking_of_these_units(reference, tmp_path):
    profiles = Toy().profile(*samples(3))
    with pytest.raises(ValueError, match="must be one ranking of the reference's units"):
        report(tmp_path / "a.html", reference, ranking=reference.rank(profiles, combine="each"))
    with pytest.raises(ValueError, match="is not a folder"):
        report(tmp_path / "nowhere" / "a.html", reference)


def test_depth_picture_marks_the_first_units_and_those_beyond_every_endpoint(reference):
    profile = reference.tail.threshold.copy()
    profile[[3, 7]] = 1e9
    ranking = reference.rank(profile)
    ax = plot.unit_depth(ranking, 4)
    marked = [c for c in ax.collections if c.get_label().startswith("first")]
    beyond = np.count_nonzero(np.isinf(ranking.log_sf[ranking.top(4)]))
    assert sum(len(c.get_offsets()) for c in marked) == 4
    assert [len(c.get_offsets()) for c in marked if "beyond" in c.get_label()] == [beyond] * int(beyond > 0)
    assert {text.get_text() for text in ax.texts} == {"layer1", "fc"}


@pytest.mark.parametrize("by", ["impact", "pot", "zscore", "excess", "gradient", "random"])
@pytest.mark.parametrize("several", [True, False])
def test_depth_picture_draws_the_score_that_ranks(reference, by, several):
    profiles = Toy().profile(*samples(20, seed=6))
    ranking = reference.rank(profiles if several else profiles[0], by, rng=0)
    points = plot.unit_depth(ranking, 5).findobj(matplotlib.collections.PathCollection)
    height = dict(np.concatenate([p.get_offsets() for p in points]).tolist())
    in_order = [height[unit] for unit in ranking.order.tolist() if unit in height]
    assert len(in_order) == np.count_nonzero(~np.isneginf(ranking.score))
    assert in_order == sorted(in_order, reverse=True)


def test_repair_picture_has_the_winners_band(results):
    means = results.means
    for row, repair in zip(np.split(np.array(plot.repair_curves(results).axes), 2), results.curves, strict=True):
        (band,) = row[2].collections
        some = (means["repair"] == repair) & (means["by"] == max(
            results.by, key=lambda name: means["corrected"][(means["repair"] == repair) & (means["by"] == name)].max()
        ))  # fmt: skip
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(100 * means["corrected_high"][some].max())


def test_pictures_draw_where_they_are_told_and_leave_pyplot_alone(reference, ranking, results):
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.add_subplot()
    assert plot.unit_depth(ranking, 3, ax) is ax
    assert "pot" in [text.get_text() for text in plot.repair_curves(results, Figure()).legends[0].get_texts()]
    assert len(plot.repair_curves(results).axes) == 2 * 4
    assert len(plot.families(reference.compare_families()).axes) == 2
    import sys

    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_input_picture_shows_the_percentiles():
    from evtkit.plot.networks import input_saliency

    heat = np.arange(100.0).reshape(10, 10)
    figure = input_saliency(np.zeros((10, 10, 3)), heat)
    strength = figure.axes[1].images[1].get_array()
    assert np.count_nonzero(np.asarray(strength) > 0) == 10
    with pytest.raises(ValueError, match="must have the same height and width"):
        input_saliency(np.zeros((9, 10)), heat)


def test_what_is_to_be_known_of_the_listed_units_stands_in_the_report(tmp_path):
    from evtkit import fit_tail
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.units import Units

    rng = np.random.default_rng(0)
    usual = np.c_[rng.standard_exponential((500, 2)), rng.poisson(3.0, 500)]
    units = Units(["conv1"] * 3, ["filters"] * 3, [0, 1, 2], [9] * 3, ["conv1"] * 3)
    reference = Reference(fit_tail(usual, quantile=0.9, keep_sample=False), units, 0.9)
    page = report(tmp_path / "r.html", reference, ranking=reference.rank([1.0, 9.0, 30.0]), k=2).read_text()
    assert f"Of the units listed: {units.names[2]}: rounded to steps of 1" in page
    other = report(tmp_path / "r.html", reference, ranking=reference.rank([9.0, 8.0, 1.0]), k=2)
    assert "rounded" not in other.read_text()
