"""The plan: a model's chosen units, the lanes they are made of, and what they leave out."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras

from evtkit.saliency import adapting
from evtkit.saliency.adapting import Candidate, Weight
from evtkit_keras.lanes import Lanes
from evtkit_keras.layers import find_holder, kinds, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from evtkit.saliency.adapting import Chooser
    from evtkit_keras.network import Network

__all__ = ["Plan", "make_plan", "stage_of"]

Plan = adapting.Plan[Lanes]


def stage_of(layer: str) -> str:
    """Group a layer belongs to: its name up to the first part that ends in a digit.

    Keras's names have slashes between a model and the layers inside it, and underscores, or dots, within a name.

    Parameters
    ----------
    layer : str
        Full name of a layer.

    Returns
    -------
    str
        The stage; the whole name of a layer that has no number in it.

    Examples
    --------
    >>> [stage_of(name) for name in ("conv2_block1_1_conv", "block_3_expand", "encoder/layer_7/query", "dense")]
    ['conv2', 'block_3', 'encoder/layer_7', 'dense']
    """
    numbered = re.match(r".*?[0-9](?=[/_.]|$)", layer)
    return numbered[0] if numbered else layer


def make_plan(network: Network, choose: Chooser | Sequence[Chooser], stage: Callable[[str], str] = stage_of) -> Plan:
    """Choose units by layer type, in the order in which Keras lists the layers, then by output index.

    Parameters
    ----------
    network : Network
        The network.
    choose : str, callable, or sequence of them
        Kinds, globs or predicates; a layer is taken when any of them matches.
    stage : callable
        From a layer's name to its stage; without the names of nested models that all units share.

    Raises
    ------
    ValueError
        If nothing matches.
    """
    reasons: dict[str, str] = {}
    candidates = list(_candidates(network, reasons))
    weights = [
        Weight(name, int(variable.value.shape.num_elements()), _default(network, name))
        for name, variable in network.weights.items()
    ]
    owner = type(network.model).__name__

    def planned(stage: Callable[[str], str]) -> Plan:
        return adapting.make_plan(candidates, weights, choose, kinds(), stage=stage, owner=owner, reasons=reasons)

    plan = planned(stage)
    prefix = _common(network, plan.units.module.tolist())
    return planned(lambda name: prefix + stage(name[len(prefix) :])) if prefix else plan


def _candidates(network: Network, reasons: dict[str, str]) -> Iterator[Candidate[Lanes]]:
    for name, layer in network.layers.items():
        found = find_holder(layer)
        if found is None:
            continue
        kind, holder = found
        if not layer.built:  # a layer that no call has used has no weights yet
            warnings.warn(
                f"{name} ({type(layer).__name__}) is unbuilt and has no units: nothing has used it", stacklevel=5
            )
            continue
        for part, local in holder(layer).items():
            lanes = list(_named(network, layer, local, reasons))
            yield Candidate(f"{name}/{part}" if part else name, kind, layer, lanes)


def _named(network: Network, layer: Any, local: Sequence[Lanes], reasons: dict[str, str]) -> Iterator[Lanes]:
    """Lanes under their weights' full names, without those whose weight is not itself what the layer computes with."""
    for lanes in local:
        name = network.name_of(resolve(layer, lanes.parameter))
        if name is not None:
            yield replace(lanes, parameter=name)
            continue
        owner = resolve(layer, lanes.parameter.rpartition(".")[0]) if "." in lanes.parameter else layer
        for own in owner._trainable_variables:
            if (known := network.name_of(own)) and not known.endswith("bias"):
                reasons.setdefault(known, "the weight is recomputed from it (LoRA, quantization)")


def _default(network: Network, name: str) -> str:
    owner = network.owners[name]
    bias = name.rpartition("/")[2].partition("#")[0] in ("bias", "beta")
    return "bias" if bias else f"in {type(owner).__name__}, for which no units are defined"


def _common(network: Network, names: Sequence[str]) -> str:
    """Name of the nested model that all units are in, with its slash: as a stage it would tell none from another."""
    prefix = ""
    while True:
        head, slash, _ = names[0][len(prefix) :].partition("/")
        inner = f"{prefix}{head}{slash}"
        nested = isinstance(network.layers.get(inner.rstrip("/")), keras.Model)
        if not slash or not nested or not all(name.startswith(inner) for name in names):
            return prefix
        prefix = inner
