"""KerasModel: a Keras classifier as saliency sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from evtkit.saliency.adapting import NetworkGradient, NetworkModel, check_options, write_repair
from evtkit_keras.network import KerasNetwork, stage_of
from evtkit_keras.outputs import Head, Loss, Task, loss_of
from evtkit_keras.profiles import KerasProfiler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from evtkit.saliency.adapting import Chooser, Reduction

__all__ = ["KerasModel", "KerasUnitGradient", "apply_repair"]


class KerasUnitGradient(NetworkGradient):
    """Gradient of selected units at some weights, in arrays; what `KerasModel.gradient` returns."""


class KerasModel(NetworkModel):
    """A network's units, their per-sample saliency, and temporary changes to them.

    The profile of a labelled sample holds, for every unit, by how much the loss would fall, to first order, if the
    unit's weights were zero: Σ w · ∂L/∂w, exact, from one forward and one backward pass over the whole batch. The
    network is run in inference mode, in a graph that is traced once for every shape of the input. What its layers are
    is read then: make a new KerasModel after changing them; weights may change at any time. The published protocol
    (Levin et al. 2021, arXiv 2108.01335; Wang & Sato 2023) is ``reduction="mean-abs"``.

    Parameters
    ----------
    model : keras.Model
        A built classifier: Sequential, functional or subclassed, of logits or probabilities (batch, classes), or with
        one of them as ``"logits"`` of a dict. A single column scores the second of two classes. Axes between samples
        and classes are positions, each with a label: the pixels of a segmentation, the tokens of a text.
    loss : callable, str or keras.losses.Loss, optional
        ``loss(y_true, y_pred) -> (batch,)``, one number a sample, or one a position, of which a
        sample's loss is then the mean, without those whose integer label is -100 or the loss's ``ignore_class``. By
        default the cross-entropy to the label.
    units : str, callable, or sequence of them
        Kinds of layers (``"filters"`` of convolutions, ``"rows"`` of dense layers, ``"channels"`` of normalisation
        scales, ``"heads"`` of attention), globs over layer names, or predicates of (name, layer). A glob or predicate
        takes every layer it matches, whatever its kind.
    max_workspace_mib : float
        Bound of the memory used beyond the activations, in MiB.
    micro_batch : int, optional
        Process this many samples at a time. By default a whole batch.
    reduction : {"taylor", "mean-abs", "l2"}
        Product of a unit's gradient with its weights, Σ w · ∂L/∂w (Molchanov et al. 2019, arXiv 1906.10771, keep its
        square), which has a sign, and is in the loss's units for every unit alike; or mean absolute value of the
        gradient, or its Euclidean length.
    from_logits : bool, optional
        Whether the output holds logits. By default found out from the first samples: a softmax of Keras's is
        recognised, and so are other rows that add up to 1.
    loss_scale : float
        Multiplies the loss for the backward pass, for float16; divided out again. A power of two is exact.
    stage : callable
        From a layer's name to its stage in `units`.
    verify : bool
        Check the first two samples ever profiled against ordinary gradients, once. Costs about four samples' passes.
    task : {"classes", "labels", "values"}
        What the network says: one class of several; several labels, each true or not; or numbers, as in regression.
        It decides what `predict` returns (the probability of each class, or of each label, or the output) and the
        default loss: cross-entropy, to the class or as a mean over the labels; or mean squared error.
    output : str or int, optional
        Which of several outputs, by its key or place: that of the loss and of `predict`.
    run_eagerly : bool, optional
        Run without a graph, slowly, as a network must whose ``call`` needs it. By default as the model was compiled.

    Raises
    ------
    ValueError
        If Keras does not run on TensorFlow, the model is unbuilt, nothing matches ``units``, or an argument is out of
        its range.

    Examples
    --------
    >>> import keras, numpy as np
    >>> keras.utils.set_random_seed(0)
    >>> cnn = keras.Sequential([
    ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
    ...     keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax", name="head")])
    >>> net = KerasModel(cnn)
    >>> net
    KerasModel(Sequential: 4 filters in 1 layers; 2.4 % of 1,490 parameters covered;
    left out: 1,440 rows not selected, 14 bias)
    >>> x, y = np.random.default_rng(0).normal(size=(3, 8, 8, 1)), [1, 2, 3]
    >>> net.profile(x, y).shape
    (3, 4)
    >>> with net.pruned([0, 2]):
    ...     net.predict(x).shape
    (3, 10)
    """

    gradient_type = KerasUnitGradient

    def __init__(
        self,
        model: Any,
        loss: Loss | str | None = None,
        units: Chooser | Sequence[Chooser] = "filters",
        *,
        max_workspace_mib: float = 256,
        micro_batch: int | None = None,
        reduction: Reduction = "taylor",
        from_logits: bool | None = None,
        loss_scale: float = 1.0,
        stage: Callable[[str], str] = stage_of,
        verify: bool = True,
        task: Task = "classes",
        output: str | int | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        check_options(reduction, max_workspace_mib, micro_batch, loss_scale, task)
        network = KerasNetwork(model)
        own_loss = loss_of(loss)
        profiler = KerasProfiler(
            network=network,
            plan=network.plan(units, stage),
            reduction=reduction,
            loss=own_loss,
            head=Head(_says_logits(model, loss) if from_logits is None else from_logits, task, output),
            task=task,
            workspace_mib=max_workspace_mib,
            loss_scale=loss_scale,
            run_eagerly=bool(model.run_eagerly) if run_eagerly is None else run_eagerly,
        )
        super().__init__(profiler, micro_batch=micro_batch, verify=verify)


def _says_logits(model: Any, loss: Any) -> bool | None:
    """Whether a loss for two classes, given or compiled, says that a single output is their logit."""
    for own in (loss, getattr(model, "loss", None)):
        if isinstance(own, (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)):
            return True if own.from_logits else None  # a sigmoid is recognised, and better so
    return None


def apply_repair(model: Any, repair: Mapping[str, NDArray[Any]], *, revert: bool = False) -> None:
    """Write an exported repair into a network, for good.

    Parameters
    ----------
    model : keras.Model
        A network with the weights the repair was made for, and the same names of layers.
    repair : mapping of str to ndarray
        What `KerasModel.export` returned, for instance through `numpy.savez` or safetensors.
    revert : bool
        Undo the repair instead.

    Raises
    ------
    ValueError
        If the repair names no weight of the network, or its weights are not those it was made for; nothing is changed
        then.

    See Also
    --------
    evtkit.saliency.Repair.save : a file that it reads, too.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from evtkit_keras import KerasModel, apply_repair
    >>> keras.utils.set_random_seed(0)
    >>> cnn = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 2, name="conv"), keras.layers.Flatten(),
    ...                         keras.layers.Dense(2, activation="softmax", name="head")])
    >>> net = KerasModel(cnn)
    >>> with net.pruned([1]):
    ...     change = net.export()
    >>> apply_repair(cnn, change)
    >>> float(np.abs(net.unit_norms([1])).sum())
    0.0
    >>> apply_repair(cnn, change, revert=True)
    """
    write_repair(KerasNetwork(model), repair, revert)
