"""The command ``evtkit saliency``: calibrate, rank and repair a user's network from the shell."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import click
import numpy as np

from evtkit._common.text import counted, shortened
from evtkit.cli._options import Finite
from evtkit.cli._terminal import say
from evtkit.ranking import SCORES
from evtkit.saliency.batches import Batches
from evtkit.saliency.combine import COMBINE
from evtkit.saliency.protocol import SaliencyModel
from evtkit.saliency.tasks import mistaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["load_function", "read_samples", "saliency"]

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_READABLE = click.Path(exists=True, path_type=Path)
_WRITABLE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Which filters are behind a network's mistakes?")
@click.argument("model")
@click.argument("samples", type=_READABLE)
@click.option("--calibration", type=_READABLE, help="Samples to learn the usual saliency from.")
@click.option("--reference", type=_WRITABLE, help="File of a reference: read if it exists, else written.")
@click.option("--held-out", type=_READABLE, help="Samples on which to measure what repairs cost.")
@click.option("--prepare", help="module:function from an array of samples to the network's input.")
@click.option("--quantile", type=float, show_default="the largest tenth, but at most 50 or √n",
              help="Where each unit's tail begins.")  # fmt: skip
@click.option("--which", type=click.Choice(["all", "correct"]), default="all", show_default=True,
              help="Calibrate on all samples, or on those classified right.")  # fmt: skip
@click.option("--normalize/--no-normalize", default=True, show_default=True,
              help="Divide each profile by its mean size over the units.")  # fmt: skip
@click.option("--by", type=click.Choice(SCORES), default="impact", show_default=True, help="What to rank by.")
@click.option("--combine", type=click.Choice([c for c in COMBINE if c != "each"]),
              show_default="mean; mean-rank by pot, published, random",
              help="How several mistakes become one ranking.")  # fmt: skip
@click.option("--all-samples", is_flag=True, help="Rank for all samples, not for the mistakes among them.")
@click.option("--top", type=int, default=25, show_default=True, help="How many units to list.")
@click.option("--repair", type=int, default=0, help="Repair this many mistakes one by one, and compare all rankings.")
@click.option("--step", type=Finite(), default=1e-3, show_default=True, help="Step of the repair by tuning.")
@click.option("--loss", "own_loss", help="module:function from (output, target) to one loss a sample.")
@click.option("--wrong", "own_wrong", help="module:function from (predictions, y) to whether each is a mistake.")
@click.option("--device", help="Where PyTorch runs the network, such as cuda or cuda:1.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True,
              help="Samples at a time; halved as often as memory wants it.")  # fmt: skip
@click.option("--checkpoint", type=_WRITABLE, show_default="beside --reference",
              help="File from which an interrupted calibration goes on.")  # fmt: skip
@click.option("--report", "page", type=_WRITABLE, help="Write an HTML report.")
@click.option("--csv", "table", type=_WRITABLE, help="Write the repair table.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random ranking and the bootstrap.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def saliency(model: str, samples: Path, **options: Any) -> None:
    """Say which filters of MODEL are at fault for the mistakes among SAMPLES, if any, and rank all of them.

    MODEL is module:function; the function takes nothing and returns the network wrapped for saliency:
    evtkit_torch.TorchModel(network) or evtkit_keras.KerasModel(network). The module is looked for in the current folder
    too, and can import what lies beside it.

    SAMPLES (and --calibration, --held-out) are an .npz file with arrays x and y, or a folder with one subfolder of
    images a class, classes in alphabetical order; images are read as arrays (n, height, width, 3) of uint8 and must be
    of one size. Several inputs are arrays x.NAME, which the network gets by name. y holds whatever the loss takes:
    labels, a label a pixel or token, several labels that are true or not, numbers.

    Ctrl-C leaves a checkpoint, and the same command goes on from there.

    \b
    evtkit saliency mynet:load shifted.npz --calibration usual.npz --report report.html
    """  # noqa: D301 - click wants the backspace character
    _run(model, samples, **options)


def _run(model: str, samples: Path, **o: Any) -> None:
    from evtkit.saliency.evaluation import evaluate
    from evtkit.saliency.finding import suspects

    network = load_function(model)()
    if not isinstance(network, SaliencyModel):
        raise ValueError(
            f"{model} must give a network wrapped for saliency, got {type(network).__name__}: "
            "evtkit_torch.TorchModel(network) or evtkit_keras.KerasModel(network)"
        )
    prepare, loss, how = (load_function(o[name]) if o[name] else None for name in ("prepare", "own_loss", "own_wrong"))
    if o["device"]:
        _moved(network, o["device"])
    if loss is not None:
        network.profiler.use_loss(loss)  # type: ignore[attr-defined]  # of a NetworkModel
    if o["checkpoint"] is None and o["reference"] is not None:
        o["checkpoint"] = Path(f"{o['reference']}.checkpoint")
    x, y = read_samples(samples, prepare)
    reference = _reference(network, prepare, how, o)
    say(repr(reference))
    wrong = _mistakes(network, Batches(x, y, o["batch_size"]), samples, how)
    chosen = np.arange(len(y)) if o["all_samples"] else np.flatnonzero(wrong)
    say(f"{samples}: {counted(len(y), 'sample')}, {counted(int(wrong.sum()), 'mistake')}")
    if not chosen.size:
        raise ValueError("samples must include mistakes, got none (--all-samples ranks all)")
    parts = Batches(_rows(x, chosen), y[chosen], o["batch_size"])
    profiles = np.concatenate([network.profile(*part) for part in parts])
    found = None
    if wrong.any() and reference.mistakes is not None:
        bad = np.flatnonzero(wrong)
        found = suspects(network, reference, (_rows(x, bad), y[bad]), batch_size=o["batch_size"], wrong=how)
        _say_lines("", repr(found))
    ranking = reference.rank(profiles, o["by"], combine=o["combine"], rng=o["seed"])
    k = min(o["top"], len(network.units))
    _say_lines("", ranking.table(k), "", ranking.enrichment(k))
    results = None
    if o["repair"]:
        some = np.flatnonzero(wrong)[: o["repair"]]
        held_out = None if o["held_out"] is None else read_samples(o["held_out"], prepare)
        results = evaluate(
            network, reference, (_rows(x, some), y[some]), held_out=held_out, step=o["step"], equal_norm=True,
            batch_size=o["batch_size"], seed=o["seed"], progress=not o["quiet"], wrong=how,
        )  # fmt: skip
        _say_lines("", repr(results), results.table((5, 25)))
        if o["table"] is not None:
            results.to_csv(o["table"])
    if o["page"] is not None:
        from evtkit.saliency.reporting import report

        families = reference.compare_families()
        written = report(o["page"], reference, suspects=found, ranking=ranking, results=results, families=families, k=k)
        _say_lines("", written)


def _say_lines(*texts: object) -> None:
    for text in texts:
        for line in str(text).split("\n"):
            say(line)


def _moved(network: SaliencyModel, device: str) -> None:
    """Bring the network to a device; what a framework says of one that it has not, in a line."""
    try:
        network.profiler.move(device)  # type: ignore[attr-defined]  # of a NetworkModel
    except (AssertionError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"--device must be one that the network's framework has, got {device}: {shortened(error)}"
        ) from error


def _mistakes(network: SaliencyModel, batches: Batches, samples: Path, how: Any) -> NDArray[np.bool_]:
    """What the network gets wrong."""
    found = []
    for x, y in batches:
        try:
            found.append(mistaken(network, x, y, how))
        except Exception as error:  # the user's network, and what it raises its own choice
            raise ValueError(f"{samples} must suit the network, which refused it: {shortened(error)}") from error
    return np.concatenate(found)


def _reference(network: SaliencyModel, prepare: Any, how: Any, o: dict[str, Any]) -> Any:
    """The reference from its file, or calibrated and then written there."""
    from evtkit.saliency.calibration import calibrate
    from evtkit.saliency.reference import Reference

    path = o["reference"]
    if path is not None and path.exists():
        if o["calibration"] is not None:
            raise ValueError(f"give one of --calibration and an existing --reference, got both: {path} exists")
        reference = Reference.load(path)
        if reference.units != network.units:
            raise ValueError(f"{path} must be of this network's {network.units!r}, got {reference.units!r}")
        return reference
    if o["calibration"] is None:
        raise ValueError("give one of --calibration and an existing --reference, got neither")
    usual = Batches(*read_samples(o["calibration"], prepare), o["batch_size"])
    own = o["checkpoint"]
    try:
        reference = calibrate(
            network, usual, quantile=o["quantile"], which=o["which"], normalize="sample" if o["normalize"] else None,
            progress=not o["quiet"], checkpoint=own, wrong=how,
        )  # fmt: skip
    except KeyboardInterrupt:
        if own is not None and own.exists():
            say(f"stopped: what has been calibrated so far is in {own}, and the same command goes on from there")
        raise
    if path is not None:
        reference.save(path)
        if own == Path(f"{path}.checkpoint"):
            own.unlink(missing_ok=True)
    return reference


def load_function(name: str) -> Callable[..., Any]:
    """What ``module:function`` names; modules of the current folder included.

    The module, and the function whenever it is called, can import what lies in the current folder and beside the
    module; at other times these folders are not looked into.

    Raises
    ------
    ValueError
        If it is not of that form, the module cannot be loaded or has no such function; and when it is called, if the
        function raises.
    ImportError
        If there is no such module.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ValueError(f"the network must be named as module:function, got {name!r}")
    folders = [str(Path.cwd())]
    with _looked_into(folders), _users_code(module):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            folders.append(str(Path(spec.origin).parent))
    with _looked_into(folders), _users_code(module):
        found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise ValueError(f"module {module} must have the function named, got {name!r}")

    def call(*arguments: Any) -> Any:
        with _looked_into(folders), _users_code(name):
            return found(*arguments)

    return call


@contextlib.contextmanager
def _looked_into(folders: list[str]) -> Iterator[None]:
    """Within it, modules are looked for in these folders too: in the first one before all others, in the others last.

    A module beside the user's, such as queue.py in a package, must not stand in for one of Python's own.
    """
    before = set(sys.path)
    folders = [folder for i, folder in enumerate(folders) if not i or folder not in before]
    sys.path[:0] = folders[:1]
    sys.path += folders[1:]
    try:
        yield
    finally:
        for folder in folders:
            with contextlib.suppress(ValueError):  # the user's code may have done so itself
                sys.path.remove(folder)


@contextlib.contextmanager
def _users_code(name: str) -> Iterator[None]:
    """What the user's code raises, as one line that says where."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {shortened(error)}"
        raise ValueError(f"{name} cannot be loaded: {what}{_place(error)}") from error


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def read_samples(path: Path, prepare: Any = None) -> tuple[Any, NDArray[Any]]:
    """Inputs and labels from an .npz file with x and y, or a folder of image folders; see the command's help.

    Parameters
    ----------
    path : Path
        File or folder.
    prepare : callable, optional
        From the array of all inputs to the network's input.

    Raises
    ------
    ValueError
        If the file has no x or y, they differ in length, or images are missing or of several sizes.
    """
    if path.is_dir():
        x: Any
        x, y = _read_images(path)
    else:
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                y = archive["y"]
                parts = {name.partition(".")[2]: archive[name] for name in archive.files if name.startswith("x.")}
                x = parts or archive["x"]
        except (KeyError, ValueError, OSError, AttributeError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} must be an .npz file with arrays x and y: {error}") from error
    n = sum(y.shape[:1])
    sizes = sorted({sum(part.shape[:1]) for part in (x.values() if isinstance(x, dict) else [x])})
    if sizes != [n] or not n or y.dtype.kind not in "biuf":
        got = ", ".join(map(str, sizes))
        raise ValueError(f"{path} must hold a label or other target a sample, got {got} samples and {n} of {y.dtype}")
    if y.dtype.kind in "iu":
        y = y.astype(np.int64)
    return (x if prepare is None else prepare(x)), y


def _read_images(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("image folders need Pillow; install it with: pip install pillow") from error
    classes = sorted(part for part in folder.iterdir() if part.is_dir())
    images, labels = [], []
    for label, part in enumerate(classes):
        for file in sorted(f for f in part.iterdir() if f.suffix.lower() in _IMAGES):
            with Image.open(file) as image:
                images.append(np.asarray(image.convert("RGB")))
            labels.append(label)
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) != 1:
        raise ValueError(f"images in {folder} must be of one size, a subfolder a class, got sizes {sizes[:3]}")
    return np.stack(images), np.array(labels, dtype=np.int64)


def _rows(x: Any, rows: NDArray[np.int64]) -> Any:
    """Some samples of what prepare returned."""
    if isinstance(x, dict):
        return {key: _rows(value, rows) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(_rows(value, rows) for value in x)
    return x[rows]
