"""What a saved Reference and a saved Checkpoint must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evtkit._common.schema import MANY, Array, check_arrays, integer, keys, number, text
from evtkit.tail.stored import check_sketch, check_tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["check_checkpoint", "check_reference"]

_UNITS = {
    "module": Array("U", "units"),
    "kind": Array("U", "units"),
    "index": Array("i8", "units", low=0, high=MANY),
    "size": Array("i8", "units", low=0, high=MANY),
    "stage": Array("U", "units"),
}
_CHECKPOINT = {
    "names": Array("U", "units"),
    "norms": Array("f8", "units", low=0.0),
    "mistakes.profiles": Array("f4 f8", "kept width", nan=True, optional=True),
    "mistakes.key": Array("f8", "kept", low=-1.0, infinite=True, optional=True),
}
_MISTAKES = {
    "mistakes": Array("f4 f8", "kept units", optional=True),
    "activations": Array("f4 f8", "kept units both", nan=True, optional=True),
}


def check_reference(arrays: Mapping[str, NDArray[Any]], own: Any) -> None:
    """Refuse what no Reference was saved as."""
    check_arrays({name: array for name, array in arrays.items() if name in _MISTAKES}, _MISTAKES)
    parts = _split({name: array for name, array in arrays.items() if name not in _MISTAKES}, "tail.", "units.")
    units = check_arrays(parts["units."], _UNITS, "units.")["units"][0]
    keys(own, {"tail", "quantile", "which", "normalize", "reduction", "n_seen", "coverage", "missed"})
    check_tail(parts["tail."], own["tail"], "tail.")
    if not units or parts["tail."]["tail.threshold"].shape != (units,):
        raise ValueError("wanted a tail of one channel a unit")
    if "mistakes" in arrays and arrays["mistakes"].shape[1:] != (units,):
        raise ValueError("wanted kept profiles of all units")
    if own["quantile"] is not None:
        number(own["quantile"], "quantile", 0.0, 1.0)
    text(own["which"], "which", ("all", "correct"))
    if own["normalize"] is not None:
        text(own["normalize"], "normalize", ("sample",))
    text(own["reduction"], "reduction")
    used = parts["tail."]["tail.n"] + parts["tail."]["tail.left_out"]
    integer(own["n_seen"], "n_seen", int(used.max()))
    text(own["coverage"], "coverage")
    kept = len(arrays["mistakes"]) if "mistakes" in arrays else 0
    if integer(own["missed"], "missed") > kept:
        raise ValueError(f"missed is {own['missed']} of {kept}")


def check_checkpoint(arrays: Mapping[str, NDArray[Any]], own: Any) -> None:
    """Refuse what no Checkpoint was saved as."""
    parts = _split(arrays, "sketch.", "")
    units = check_arrays(parts[""], _CHECKPOINT)["units"]
    if ("mistakes.key" in arrays) != ("mistakes.profiles" in arrays):
        raise ValueError("wanted the kept mistakes with their keys")
    keys(own, {"settings", "batches", "seen", "digest", "sketch", "taken", "place", "done", "labels", "known"})
    keys(own["settings"], (), own["settings"])
    integer(own["batches"], "batches")
    integer(own["seen"], "seen")
    text(own["digest"], "digest")
    integer(own["taken"], "taken")
    for name in ("labels", "known"):
        if not (text(own[name], name).isascii() and own[name].isdigit() and len(own[name]) <= 20):
            raise ValueError(f"{name} is {own[name]!r:.60}")
    _check_place(own["place"], 2)
    if type(own["done"]) is not list:
        raise ValueError(f"done is {own['done']!r:.60}")
    for part in own["done"]:
        _check_place(part, 3)
    if own["sketch"] is None:
        keys(parts["sketch."], ())
        return
    check_sketch(parts["sketch."], own["sketch"], "sketch.")
    if parts["sketch."]["sketch.count"].shape != units:
        raise ValueError("wanted a sketch of one channel a unit")


def _check_place(place: Any, length: int) -> None:
    """The number of a first sample, the step to the next, and how many, if that belongs to it."""
    if type(place) is not list or len(place) != length:
        raise ValueError(f"a place among the samples is {place!r:.60}")
    for value, low in zip(place, (0, 1, 0), strict=False):
        integer(value, "a place among the samples", low)


def _split(arrays: Mapping[str, NDArray[Any]], first: str, second: str) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays whose names begin with the one prefix, and the others."""
    begins = {name: array for name, array in arrays.items() if name.startswith(first)}
    return {first: begins, second: {name: array for name, array in arrays.items() if name not in begins}}
