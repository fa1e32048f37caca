"""KerasModel: a Keras classifier as saliency sees it."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from evtkit.saliency.adapting import Chooser, Reduction, check_options, places, step_size
from evtkit_keras.inputs import Batch, make_batch, targets_of
from evtkit_keras.network import Network
from evtkit_keras.outputs import Head, Loss, loss_of
from evtkit_keras.patches import KerasUnitGradient, Patches
from evtkit_keras.plan import make_plan, stage_of
from evtkit_keras.profiles import Profiler
from evtkit_keras.verify import verify as verify_profiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.protocol import UnitGradient
    from evtkit.saliency.units import Coverage, Units

__all__ = ["KerasModel"]


class KerasModel:
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
        one of them as ``"logits"`` of a dict. A single column scores the second of two classes.
    loss : callable, str or keras.losses.Loss, optional
        ``loss(y_true, y_pred) -> (batch,)``, one number a sample. By default the cross-entropy to the label.
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
        run_eagerly: bool | None = None,
    ) -> None:
        check_options(reduction, max_workspace_mib, micro_batch, loss_scale)
        network = Network.of(model)
        own_loss = loss_of(loss)
        self._plan = make_plan(network, units, stage)
        self._model = model
        eager = bool(model.run_eagerly) if run_eagerly is None else run_eagerly
        self._profiler = Profiler(
            network, self._plan, own_loss, Head(from_logits), reduction, max_workspace_mib, loss_scale, eager
        )
        self._patches = Patches(network, self._plan)
        self._micro_batch = micro_batch
        self._verify = verify
        self._warned = False

    @property
    def model(self) -> Any:
        """The network itself."""
        return self._model

    @property
    def units(self) -> Units:
        """Ordered table of the units: the order of Keras's own listing of layers, then output index."""
        return self._plan.units

    @property
    def coverage(self) -> Coverage:
        """Which parameters belong to no unit, and why."""
        return self._plan.coverage

    @property
    def reduction(self) -> Reduction:
        """How a unit's gradient becomes one number."""
        return self._profiler.reduction

    @property
    def unused(self) -> tuple[str, ...]:
        """Weights of units that no profile's forward pass has used so far: a profile warns, and is zero there."""
        return tuple(name for name in self._plan.parameters if name not in self._profiler.used)

    def __repr__(self) -> str:
        return f"KerasModel({type(self._model).__name__}: {self._plan})"

    def profile(self, x: Any, y: Any = None) -> NDArray[np.floating[Any]]:
        """Saliency of every unit for every sample.

        Parameters
        ----------
        x : array, tensor, or tuple, list or dict of them
            What the network is called with, samples along axis 0.
        y : array of int, or "predicted"
            Labels, one a sample, or one-hot rows (whatever the loss takes, if it is one's own). "predicted" stands for
            the class that the network ranks first.

        Returns
        -------
        ndarray, shape (batch, units)
            float64 for a float64 network, else float32. In the loss's units; with "mean-abs" and "l2", per unit of
            weight.

        Raises
        ------
        ValueError
            If the input or labels are malformed, the output is no row of class scores a sample, or the loss is not one
            finite number a sample.
        RuntimeError
            If a batch norm is in training mode, a weight is used in a way without a rule, gradients are not finite, or
            the first samples' profiles differ from ordinary gradients.
        """
        batch, target = self._batch(x, y)
        parts = []
        for part, labels in batch.parts(self._micro_batch, target):
            found = self._profiler.profile(part, labels)
            bad = np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist()
            if bad:
                raise RuntimeError(
                    f"got gradients that are not finite for samples {bad[:5]} of the batch, wanted finite ones "
                    "(float16 may want another loss_scale)"
                )
            if self._verify:
                verify_profiles(self._profiler, part, labels, found)
                self._verify = False
            parts.append(found)
        if self.unused and not self._warned:
            self._warned = True
            warnings.warn(
                f"no forward pass has used {', '.join(self.unused[:5])} yet: the profile is zero there", stacklevel=2
            )
        return np.concatenate(parts)

    def logits(self, x: Any) -> NDArray[np.floating[Any]]:
        """Class scores, shape (batch, classes), in inference mode; of a softmax, what went into it."""
        return self._forward(self._profiler.logits, x)

    def predict(self, x: Any) -> NDArray[np.floating[Any]]:
        """Class probabilities, shape (batch, classes), in inference mode."""
        return self._forward(self._profiler.probabilities, x)

    def unit_norms(self, selection: ArrayLike | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights (all by default), shape (selected,)."""
        return self._patches.norms(self._resolve(selection))

    def gradient(self, x: Any, y: Any = None, selection: ArrayLike | None = None) -> KerasUnitGradient:
        """Gradient of the mean loss with respect to selected units, at the present weights.

        Take it once, at the original weights, and every `tuned` of a sweep from it.

        Parameters
        ----------
        x, y
            As in `profile`. The loss is averaged over the batch, so that a step does not grow with it.
        selection : array-like, optional
            Units, as in `Units.resolve`. By default all.

        Returns
        -------
        KerasUnitGradient
            With ``selection`` and the ``norms`` of its units.
        """
        chosen = self._resolve(selection)
        names = {lanes.parameter for unit in chosen.tolist() for lanes, _ in self._plan.pieces[unit]}
        batch, target = self._batch(x, y)
        total: dict[str, NDArray[Any]] = {}
        for part, labels in batch.parts(self._micro_batch, target):
            for name, gradient in self._profiler.gradient(part, labels).items():
                if name in names:
                    total[name] = gradient if name not in total else total[name] + gradient
        mean = {name: gradient / gradient.dtype.type(batch.size) for name, gradient in total.items()}
        return KerasUnitGradient(chosen, self._patches.norms(chosen, mean), mean)

    @contextmanager
    def pruned(self, selection: ArrayLike, *, bn: Literal["keep", "zero"] = "keep") -> Iterator[Self]:
        """Context in which the selected units' weights are zero.

        Parameters
        ----------
        selection : array-like
            Units, as in `Units.resolve`.
        bn : {"keep", "zero"}
            What becomes of the batch norm that a filter's output goes straight into. ``"keep"``, the published
            protocol, changes the filter's weights only: the batch norm still adds its shift, so the channel becomes a
            constant. ``"zero"`` also zeroes that channel's scale and shift, so that nothing is left. Which batch norm
            follows is learned from a profile, so one must have been taken.

        Yields
        ------
        KerasModel
            This object. On leaving, weights are restored bit for bit, also after an exception.
        """
        if bn not in ("keep", "zero"):
            raise ValueError(f"got bn={bn!r}, wanted 'keep' or 'zero'")
        chosen = self._resolve(selection)
        blocks = self._patches.blocks(chosen)
        if bn == "zero":
            known = self._profiler.followers if self._profiler.used else None
            blocks += self._patches.following(chosen, known)
        with self._patches.changed(blocks, lambda name, index, weights: np.zeros_like(weights)):
            yield self

    @contextmanager
    def tuned(
        self,
        selection: ArrayLike,
        x: Any = None,
        y: Any = None,
        step: float = 1e-3,
        *,
        gradient: UnitGradient | None = None,
        length: float | None = None,
    ) -> Iterator[Self]:
        """Context in which the selected units have taken one gradient step.

        Parameters
        ----------
        selection : array-like
            Units, as in `Units.resolve`.
        x, y
            Samples whose mean loss is to fall; not with ``gradient``.
        step : float
            Multiple of the gradient that is subtracted.
        gradient : KerasUnitGradient, optional
            A gradient that `gradient` returned, for sweeps at fixed weights.
        length : float, optional
            Scale the update to this Euclidean length over the whole selection instead of by ``step``.

        Yields
        ------
        KerasModel
            This object. On leaving, weights are restored bit for bit, also after an exception.

        Raises
        ------
        ValueError
            If neither or both of samples and gradient are given, or the gradient lacks a selected unit.
        """
        chosen = self._resolve(selection)
        if (x is None) == (gradient is None):
            raise ValueError("got both or neither of x and gradient, wanted one of them")
        taken = self.gradient(x, y, chosen) if gradient is None else gradient
        if not isinstance(taken, KerasUnitGradient):
            raise ValueError(f"got a gradient of type {type(taken).__name__}, wanted one from KerasModel.gradient")
        step = step_size(taken.norms[places(taken.selection, chosen)], step, length)

        def step_down(name: str, index: tuple[int | slice, ...], weights: NDArray[Any]) -> NDArray[Any]:
            slope = taken.parameters[name][index]
            return np.asarray(weights - weights.dtype.type(step) * slope.astype(weights.dtype))

        with self._patches.changed(self._patches.blocks(chosen), step_down):
            yield self

    def export(self) -> dict[str, NDArray[Any]]:
        """Return the patches in force as a repair to keep.

        Returns
        -------
        dict of str to ndarray
            For every changed weight ``<name>.index`` (flat positions), ``<name>.before`` and ``<name>.after``: small,
            and savable by `numpy.savez` or safetensors. `apply_repair` writes it into a network, and checks that it
            fits.

        Raises
        ------
        ValueError
            Outside `pruned` and `tuned`.
        """
        return self._patches.export()

    def _resolve(self, selection: ArrayLike | None) -> NDArray[np.intp]:
        return np.arange(len(self.units)) if selection is None else self.units.resolve(selection)

    def _make_batch(self, x: Any) -> Batch:
        return make_batch(x, self._profiler.network.weights[self._plan.parameters[0]].dtype)

    def _batch(self, x: Any, y: Any) -> tuple[Batch, Any]:
        batch = self._make_batch(x)
        target = targets_of(y, batch.size)
        if isinstance(target, str):
            target = self.logits(x).argmax(1)
        return batch, self._profiler.target(batch, target)

    def _forward(self, run: Callable[[Batch], Any], x: Any) -> NDArray[np.floating[Any]]:
        parts = self._make_batch(x).parts(self._micro_batch)
        return np.concatenate([run(part).numpy() for part, _ in parts])
