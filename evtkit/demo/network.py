"""Demo: a small network; a planted fault found and repaired, then turned digits, their repair and what it costs.

Needs PyTorch, scikit-learn (for its digits), Matplotlib and Jinja; everything is made on the spot in well under a
minute.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evtkit.saliency.batches import Batches, held_out_split
from evtkit.saliency.calibration import calibrate
from evtkit.saliency.evaluation import evaluate
from evtkit.saliency.finding import suspects
from evtkit.saliency.repairing import repair
from evtkit.saliency.reporting import report

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from evtkit.saliency.accused import Suspects
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.repairs import Repair

__all__ = ["run"]

_ANGLE = 20.0  # degrees
_MANY = 20  # mistakes repaired one by one
_HELD_OUT = 200  # upright digits on which those repairs are tried
_PRUNE = (1, 3, 5, 10, 25, 50)
_TUNE = (1, 3, 5, 10, 25)
_STEP = 1e-3
_BUDGET = 0.02  # of the samples kept, that a repair may lose
_DAMAGED = "stage1.0[4]"


def run(output: Path, progress: bool = True) -> str:
    """Train, calibrate, rank, repair, report.

    Parameters
    ----------
    output : Path
        Folder for the report, its pictures and tables; made if need be.
    progress : bool
        Show bars (on a terminal's standard error).

    Returns
    -------
    str
        What was found, as lines of text.

    Raises
    ------
    ImportError
        If PyTorch, scikit-learn, Matplotlib or Jinja is not installed.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is so small that threads only wait for each other
    try:
        return _run(output, progress)
    finally:
        torch.set_num_threads(threads)


def _run(output: Path, progress: bool) -> str:
    from evtkit import plot

    output.mkdir(parents=True, exist_ok=True)
    digits = _Digits.make()
    net = _trained(digits.x[digits.train], digits.y[digits.train])
    usual = Batches(digits.x[digits.calibration], digits.y[digits.calibration])
    reference = calibrate(net, usual, progress=progress)
    reference.save(output / "reference.npz")

    clean, labels = digits.x[digits.test], digits.y[digits.test]
    rotated = _rotated(clean)
    right, right_rotated = (net.predict(x).argmax(axis=1) == labels for x in (clean, rotated))
    wrong = np.flatnonzero(~right_rotated)

    planted, found, mended = _fault_found_and_repaired(net, reference, digits)
    ranking = reference.rank(net.profile(rotated[wrong], labels[wrong]))
    shift = repair(net, reference, (rotated[wrong], labels[wrong]), (clean[right], labels[right]), budget=_BUDGET)
    some = wrong[::2][:_MANY]
    results = evaluate(
        net, reference, (rotated[some], labels[some]), held_out=(clean[:_HELD_OUT], labels[:_HELD_OUT]), prune=_PRUNE,
        tune=_TUNE, step=_STEP, equal_norm=True, collateral_k=(5, 25), batch_size=256, progress=progress,
    )  # fmt: skip
    families = reference.compare_families()
    results.to_csv(output / "repair.csv")
    pictures = {
        "depth": plot.unit_depth(ranking).figure, "fault": plot.repair_frontier(mended).figure,
        "shift": plot.repair_frontier(shift).figure, "repair": plot.repair_curves(results),
        "families": plot.families(families),
    }  # fmt: skip
    for name, figure in pictures.items():
        cast("Figure", figure).savefig(output / f"saliency-{name}.png", dpi=150, bbox_inches="tight")
    turned = (
        f"Turned by {_ANGLE:.0f} degrees, of the digits {100 * right_rotated.mean():.1f} % are read right, for "
        f"{100 * right.mean():.1f} % upright."
    )
    said = net.predict(rotated[wrong]).argmax(axis=1)
    page = report(
        output / "saliency.html", reference, suspects=found, repair=mended, ranking=ranking, results=results,
        families=families, pictures=[_examples(rotated[wrong], labels[wrong], said)],
        notes=[
            planted, "A small network and few mistakes: the bands are wide, and nothing here is a benchmark.",
            f"{turned} One repair for all such mistakes: {shift!r}",
        ],
        title="A planted fault, and digits turned by 20 degrees",
    )  # fmt: skip
    return "\n".join([
        planted, found.table(3), _told(mended), "",
        turned, f"filters behind it  {', '.join(ranking.top(5, by_name=True))}", _told(shift),
        f"report             {page.name}",
    ])  # fmt: skip


def _told(repair: Repair) -> str:
    """A repair in a line."""
    if repair.chosen < 0:
        return f"repair             none within {100 * repair.budget:g} % lost"
    name, gain, cost = repair.tried[repair.chosen].candidate, repair.corrected, repair.lost
    return (
        f"repair             {name}: {100 * gain.value:.0f} % of {gain.n} unseen mistakes corrected, "
        f"{100 * cost.value:.1f} % of {cost.n} others lost (budget {100 * repair.budget:g} %)"
    )


@dataclass(frozen=True)
class _Digits:
    """Images (n, 1, 8, 8) in [0, 1], labels, and three disjoint parts."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    train: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def make(cls) -> _Digits:
        from sklearn.datasets import load_digits

        found = load_digits()
        x, y = (found.images / 16.0).astype(np.float32)[:, None], found.target.astype(np.int64)
        train, rest = held_out_split(y, 0.6, seed=0)
        calibration, test = held_out_split(y[rest], 0.5, seed=1)
        return cls(x, y, train, rest[calibration], rest[test])


def _trained(x: NDArray[np.float32], y: NDArray[np.int64]) -> SaliencyModel:
    import torch
    from evtkit_torch import TorchModel
    from torch import nn

    def stage(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for source in (inputs, outputs):
            layers += [nn.Conv2d(source, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {"stage1": stage(1, 12), "pool": nn.MaxPool2d(2), "stage2": stage(12, 24), "stage3": stage(24, 48)}
        head = {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(48, 10)}
        network = nn.Sequential(OrderedDict(parts | head))
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        images, labels = torch.from_numpy(x), torch.from_numpy(y)
        for _ in range(12):
            for some in torch.split(torch.randperm(len(images)), 64):
                loss = nn.functional.cross_entropy(network(images[some]), labels[some])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return TorchModel(network.eval())


def _rotated(x: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.ndimage import rotate

    return np.asarray(rotate(x, _ANGLE, axes=(2, 3), reshape=False, order=1), dtype=np.float32)


def _fault_found_and_repaired(net: Any, reference: Reference, digits: _Digits) -> tuple[str, Suspects, Repair]:
    """One filter is damaged for a while: is it found, and is what it broke repaired?"""
    x, y = digits.x[digits.test], digits.y[digits.test]
    right = net.predict(x).argmax(axis=1) == y
    x, y = x[right], y[right]
    unit = int(net.units.resolve([_DAMAGED])[0])
    with net.scaled([unit], -1.0):
        wrong = net.predict(x).argmax(axis=1) != y
        found = suspects(net, reference, (x[wrong][:10], y[wrong][:10]))
        mended = repair(net, reference, (x[wrong], y[wrong]), (x[~wrong], y[~wrong]), budget=_BUDGET)
    place = found.ranked.tolist().index(unit) + 1
    text = (
        f"The sign of filter {_DAMAGED} is turned: {int(wrong.sum())} of {len(y)} digits that were right go wrong. "
        f"From ten of them it is found in place {place} of {len(net.units)}."
    )
    return text, found, mended


def _examples(x: NDArray[np.float32], labels: NDArray[np.int64], said: NDArray[np.int64]) -> tuple[Any, str]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 1.3), layout="constrained")
    for ax, image, label, guess in zip(figure.subplots(1, 12), x, labels, said, strict=False):
        ax.imshow(image[0], cmap="gray_r", vmin=0.0, vmax=1.0)
        ax.set_title(f"{label}: “{guess}”", fontsize="small")
        ax.set_axis_off()
    return figure, "Some of the mistakes: the true digit, and what the network said."
