"""Summaries: what a calibration and a ranking say, as scalars, a picture and a table for TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference

__all__ = ["write_summary"]


def write_summary(
    writer: Any,
    reference: Reference,
    ranking: UnitRanking | None = None,
    *,
    accuracy: float | None = None,
    step: int = 0,
    k: int = 25,
    tag: str = "saliency",
) -> None:
    """Write the numbers of a calibration and a ranking as scalars, the ranking also as a picture and a table.

    Parameters
    ----------
    writer : SummaryWriter
        `torch.utils.tensorboard.SummaryWriter`, or whatever else has its ``add_scalar``; ``add_image`` and ``add_text``
        are used where it has them. It is neither flushed nor closed.
    reference : Reference
        From `calibrate`. Scalars: the mean saliency of each stage; the share of units with a fitted tail, and the
        median of their ξ.
    ranking : UnitRanking, optional
        Of one sample or of a set. Scalars: how many samples, and each stage's enrichment among the first `k` units.
        The picture needs Matplotlib, and is left out without it.
    accuracy : float, optional
        One more scalar.
    step : int
        The step that all of it is written at: a count of epochs, say.
    k : int
        How many units the table lists, the picture marks and the enrichment counts.
    tag : str
        Begins every name.

    Raises
    ------
    ValueError
        If the ranking is of several samples apart, or of other units than the reference.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(dead=0), samples(500)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> class Writer:
    ...     def add_scalar(self, name, value, step):
    ...         print(f"{name} = {value:.3g}")
    >>> write_summary(Writer(), reference, accuracy=0.75)
    saliency/accuracy = 0.75
    saliency/fitted = 1
    saliency/xi = ...
    saliency/mean/layer1 = ...
    saliency/mean/fc = ...
    """
    if ranking is not None and (ranking.order.ndim > 1 or ranking.units != reference.units):
        raise ValueError(f"ranking must be one ranking of the reference's units, got {ranking!r}")
    tail, units = reference.tail, reference.units
    k = min(k, len(units))
    scalars: dict[str, float] = {} if accuracy is None else {"accuracy": accuracy}
    scalars["fitted"] = float(np.mean(tail.is_fitted))
    if np.any(tail.is_fitted):
        scalars["xi"] = float(np.median(tail.xi[tail.is_fitted]))
    for stage in dict.fromkeys(units.stage.tolist()):
        scalars[f"mean/{stage}"] = float(np.mean(np.asarray(tail.mean)[units.stage == stage]))
    if ranking is not None:
        scalars["samples"] = float(ranking.n_samples)
        found = ranking.enrichment(k)
        scalars |= {f"enrichment/{name}": float(ratio) for name, ratio in zip(found.group, found.ratio, strict=True)}
    for name, value in scalars.items():
        writer.add_scalar(f"{tag}/{name}", value, step)
    if ranking is None:
        return
    if hasattr(writer, "add_text"):
        indented = "\n".join(f"    {line}" for line in ranking.table(k).split("\n"))  # as it is, in Markdown
        writer.add_text(f"{tag}/ranking", indented, step)
    if hasattr(writer, "add_image"):
        try:
            image = _picture(ranking, k)
        except ImportError:
            return
        writer.add_image(f"{tag}/units", image, step, dataformats="HWC")


def _picture(ranking: UnitRanking, k: int) -> NDArray[np.uint8]:
    """The units over their depth, as pixels (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from evtkit import plot

    figure: Any = plot.unit_depth(ranking, k).figure
    figure.set_facecolor("white")
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels
