"""Capture: every use of a tracked weight in one forward pass, with the gradient that comes back to it.

Weights are followed into the torch functions they enter (`TorchFunctionMode`), not into the modules they belong to.
So a subclass with a forward of its own, padding done beforehand, functional use and attention's hidden projections
are all seen as they happen, and whatever else is done with a weight is noticed too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, resolve_name

from evtkit_torch.aliases import Alias, alias_of
from evtkit_torch.batch_norms import convolution_of, joined, scaled, slope_of, sound_batch_norm
from evtkit_torch.functions import (
    CUTS,
    TAKES_GRADIENTS,
    is_fixed_by,
    keeps_what_has_a_gradient,
    looks_at_a_gradient,
    makes_something_differentiable,
    moves_rows,
    values_among,
)
from evtkit_torch.rows import measure
from evtkit_torch.rules import (
    DECOMPOSITIONS,
    MODULE_RULES,
    RECURRENT,
    Operation,
    convolution,
    einsum_as_linear,
    find_operation,
    is_packed,
)
from evtkit_torch.state import Parts, RefusedError

__all__ = ["Call", "Capture", "root"]

_LINEAR, _MATRIX_PRODUCT = find_operation(functional.linear), find_operation(torch.matmul)

_ATTRIBUTES = frozenset(["__get__", "dim", "size", "is_floating_point", "numel"])
"""Of a tensor that is no weight, they need no look: they tell nothing of its numbers."""

_DATA = Tensor.data.__get__  # type: ignore[attr-defined]  # a descriptor

Deliver = Callable[[str, "Sequence[Call]"], None]
"""Receives a parameter's name and its uses, once their gradients have arrived."""


@dataclass(eq=False)
class Call:
    """One use of a weight: the operation's input and output, and later the gradient of its output.

    With a ``slope`` the gradient is that of a batch norm's output, of which this output is what went in: what the
    output is multiplied with there, for every channel.
    """

    parameter: str
    number: int  # of the use among those of its parameter
    operation: Operation
    options: Mapping[str, Any]
    input: Tensor
    version: int
    weight: Tensor | None = None  # as it entered
    slope: Tensor | None = None
    output: Tensor | None = None
    output_version: int = 0
    gradient: Tensor | None = None
    measures: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def leading(self) -> int:
        """How many axes of the output come before its features: samples, and positions, are among them."""
        assert self.gradient is not None
        rank = int(self.options.get("rank", 0))
        if not self.operation.channels_last:
            return int(self.operation.outputs is None or rank == 1 or self.gradient.ndim == rank)  # 0: one image alone
        return self.gradient.ndim - (self.operation.features or rank)

    def free(self) -> None:
        """Let the tensors go; autograd keeps the hook, and with it the call, until the graph goes."""
        self.input = self.output = self.gradient = self.weight = None  # type: ignore[assignment]  # never read again


class Capture(TorchFunctionMode):
    """Follow tracked weights through a forward pass, and backward passes of it.

    Parameters
    ----------
    model : Parts
        The network's. All its parameters must be frozen: a gradient is asked of activations only.
    tracked : mapping of str to Parameter
        Parameters to follow, by name.
    deliver : callable
        What to do with a weight's uses. Called inside the backward pass, so that they can be reduced and freed there.
    additive : bool
        Whether each use may be delivered by itself; else all uses of a weight together, after the last of them.
    outputs : bool
        Whether to keep what layers return, too.
    joins : bool
        Whether a convolution and the batch norm behind it may be one step of the backward pass.

    Attributes
    ----------
    used : set of str
        Tracked parameters that have entered an operation.
    followers : dict of str to set of str
        For a weight, the batch-norm scales its output goes straight into ("" for a batch norm without scale).
    foreign : dict of str to str
        Tracked parameters that have entered a function without a rule, and which.
    moves_rows : bool
        Whether the forward pass has moved rows about by data, so that the next batch may have another layout.
    mixes : bool
        Whether the forward pass has normalised by what it took for a batch.
    joins : bool
        As given; false when the forward pass has looked at a tensor's gradient, which may be one between the two.
    """

    def __init__(
        self,
        model: Parts,
        tracked: Mapping[str, Tensor],
        deliver: Deliver,
        additive: bool,
        outputs: bool,
        joins: bool = False,
    ) -> None:
        super().__init__()
        self.followers: dict[str, set[str]] = {}
        self.foreign: dict[str, str] = {}
        self.moves_rows = self.mixes = False
        self.joins = joins
        self._unseen = False  # whether a tracked weight was used where no gradient is asked for
        self._model = model
        self._tracked = tracked
        self._names = {id(parameter): name for name, parameter in tracked.items()}
        self._aliases = {id(own): Alias(name, "same", own) for name, own in tracked.items()}
        self._all_names = {id(parameter): name for name, parameter in model.named_parameters().items()}
        self._held = [*tracked.values(), *model.parameters(), *model.buffers()]  # while they are, their ids are theirs
        try:
            self._versions = {id(t): t._version for t in self._held}
        except RuntimeError:  # one of inference mode
            self._versions = {id(t): _version(t) for t in self._held}
        self._deliver = deliver
        self._additive = additive
        self._outputs = outputs
        self._expected = dict.fromkeys(tracked, 0)
        self._arrived: dict[str, list[Call]] = {name: [] for name in tracked}
        self._delivered: set[str] = set()
        self._own: set[str] = set()  # parameters inside their layer's own rule at the moment
        self._backward = False
        self._weighing = False
        self._anchor: Tensor | None = None

    @property
    def used(self) -> set[str]:
        """Tracked parameters that have entered an operation."""
        return {name for name, calls in self._expected.items() if calls} | set(self.foreign)

    @property
    def uses(self) -> Mapping[str, int]:
        """How many operations each tracked parameter has entered."""
        return self._expected

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Note tracked weights among a function's arguments."""
        name = getattr(func, "__name__", "")
        if name in _ATTRIBUTES and len(args) == 1 and id(args[0]) not in self._aliases:
            self.joins = self.joins and not looks_at_a_gradient(func)
            if func == _DATA:
                self._let_go(args[0])
            return func(*args)
        self.joins = self.joins and not looks_at_a_gradient(func)
        kwargs = kwargs or {}
        operation = find_operation(func)
        if operation is None and name in ("grad", "backward") and func in TAKES_GRADIENTS:
            raise RuntimeError("a forward pass takes gradients of its own, in which weights enter unseen")
        batch_norm = operation is not None and operation.arguments[1:3] == ("running_mean", "running_var")
        if not self._backward:
            self.moves_rows = self.moves_rows or moves_rows(func, args, kwargs, self._fixed)
        known, own = self._aliases, self._own
        values = values_among(args, kwargs)
        among = [known[key] for key in map(id, values) if key in known]
        if own:
            among = [alias for alias in among if alias.name not in own]
        if among and func in DECOMPOSITIONS and not (func in RECURRENT and len(args) > 6 and is_packed(args)):
            with self:
                return DECOMPOSITIONS[func](*args, **kwargs)
        if func is torch.einsum and len(among) == 1:
            as_linear = einsum_as_linear(among[0].tensor, *args)
            if as_linear is not None:
                with self:
                    return as_linear()
        if name == "register_hook" and func is Tensor.register_hook:
            handle = func(*args, **kwargs)
            self._watch_last(args[0])
            return handle
        masked = keeps_what_has_a_gradient(func, args, kwargs)
        output = func(*args, **kwargs)
        if not self.moves_rows and is_fixed_by(func, args, kwargs, self._fixed, values):
            for made in output if isinstance(output, (list, tuple)) else (output,):
                if isinstance(made, Tensor) and id(made) not in self._versions:
                    made._evtkit_fixed = _version(made)  # type: ignore[attr-defined]  # our mark
        if masked:
            self._still_good(args[0])
        if operation is not None:
            bound, before = operation.bind(args, kwargs), None
            if batch_norm:
                self.mixes = self.mixes or bool(bound.get("training"))
                source = bound[operation.input]
                if "use_input_stats" in operation.arguments:  # an instance norm
                    sound_batch_norm(source, output)
                else:
                    output, before = self._normalised(source, output, bound)
            if len(among) == 1:
                found = self._use(among[0], operation, bound, output)
                if found is not None:
                    output, among = self._record(among[0], *found, output, before), []
            self._link(bound, output)
        if len(among) == 1:
            made = alias_of(func, among[0], args, kwargs, output)
            if made is not None:
                self._aliases[id(output)] = made
                return output
        if among and torch.is_grad_enabled() and func not in CUTS and makes_something_differentiable(output):
            where = resolve_name(func) or repr(func)
            self.foreign.update({alias.name: where for alias in among})
        return output

    def _fixed(self, value: Any) -> bool:
        """Whether a value is the same for every batch of a shape; a tensor changed by data is not."""
        if not isinstance(value, Tensor):
            return True
        known = self._versions.get(id(value))
        return (getattr(value, "_evtkit_fixed", None) if known is None else known) == _version(value)

    def _use(
        self, alias: Alias, operation: Operation, bound: dict[str, Any], output: Tensor
    ) -> tuple[Operation, dict[str, Any]] | None:
        """The operation and its arguments if a rule is right for this use of a weight, or of what was made of it."""
        if operation.outputs == "scales":
            return self._use_of_scales(alias, operation, bound, output)
        if bound.get(operation.weight) is not alias.tensor or alias.form in ("shaped", "shifted"):
            return None
        if operation.along or alias.form == "transposed":
            if alias.tensor.ndim != 2 or bound.get("beta", 1) != 1 or bound.get("alpha", 1) != 1:
                return None
            if alias.form == "transposed":
                turned = {0: _MATRIX_PRODUCT, 1: _LINEAR}[operation.along] if operation.features == 1 else operation
                if turned is None or turned not in (_MATRIX_PRODUCT, _LINEAR):
                    return None
                operation = turned
        return operation, bound

    def _use_of_scales(
        self, alias: Alias, operation: Operation, bound: dict[str, Any], output: Tensor
    ) -> tuple[Operation, dict[str, Any]] | None:
        source = bound["input"] if bound.get("weight") is alias.tensor else bound.get("weight")
        span = list(alias.tensor.shape)
        while len(span) > 1 and span[0] == 1:
            span.pop(0)
        last = output.shape[output.ndim - len(span) :]
        fits = output.ndim > len(span) and all(size in (1, own) for size, own in zip(span, last, strict=True))
        if not isinstance(source, Tensor) or not fits or alias.form == "transposed":
            return None
        more = {"span": tuple(span), "shifted": alias.form == "shifted"}
        return operation, {"input": source.expand(output.shape), "weight": alias.tensor, **more}

    def _normalised(self, source: Tensor, output: Tensor, bound: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """A batch norm's output, with a quicker backward pass if there is one.

        Its slope, too, if that pass goes around the source, a convolution's output: whatever else uses that adds its
        own.
        """
        slope = slope_of(source, bound) if output.requires_grad else None
        if slope is None:
            sound_batch_norm(source, output)
            return output, None
        name, version = getattr(source, "_evtkit_source", ("", 0))
        call = getattr(source, "_evtkit_call", None)
        if not self.joins or call is None or call.operation.rule is not convolution or call.parameter != name:
            return scaled(source, output, slope), None
        x, hooks = call.input, source._backward_hooks
        if x is None or x._version != call.version or source._version != version or hooks is None or len(hooks) != 1:
            return scaled(source, output, slope), None
        before = convolution_of(x, call.weight, call.options, source)
        if before is None:
            return scaled(source, output, slope), None
        output = joined(x, output, slope, before) if x.requires_grad else root(output, self.anchor)
        own = replace(call, slope=slope, measures=[])
        self._watch(output, own)
        return output, slope

    def _record(
        self,
        alias: Alias,
        operation: Operation,
        bound: Mapping[str, Any],
        output: Tensor,
        slope: Tensor | None = None,
    ) -> Tensor:
        source = bound[operation.input]
        options = {key: value for key, value in bound.items() if key not in (operation.input, operation.weight)}
        options["rank"] = len(bound["span"]) if "span" in bound else self._tracked[alias.name].ndim
        return self._follow(alias.name, operation, options, source, output, alias.tensor, slope)

    def _follow(
        self,
        name: str,
        operation: Operation,
        options: Mapping[str, Any],
        source: Tensor,
        output: Tensor,
        weight: Tensor | None = None,
        slope: Tensor | None = None,
    ) -> Tensor:
        number = self._expected[name]
        if not self._backward:
            self._expected[name] += 1
        if not torch.is_grad_enabled():  # no gradient asked for, or a checkpoint that will run again
            self._unseen = True
            return output
        if not output.requires_grad:
            # Nothing upstream asks for a gradient: it starts here, the input's is never computed.
            output = root(output, self.anchor)
        call = Call(name, number, operation, options, source, source._version, weight, slope)
        if slope is not None:  # a batch norm's, y − β = slope · (x − μ): the input is there already, and in a cache
            call.options = {**options, "bias": options["running_mean"]}
            call.output, call.output_version = source.detach(), source._version
        elif self._outputs and operation.outputs is not None:
            call.output = output.detach()  # shares its memory and its version
            call.output_version = output._version
            output._evtkit_call = call  # type: ignore[attr-defined]  # our mark
        self._watch(output, call)
        return output

    def _watch(self, output: Tensor, call: Call) -> None:
        """Have the gradient of an output when it comes, behind whatever else has been done to it."""
        handle = output.register_hook(partial(self._arrive, call))
        before = getattr(output, "_evtkit_watched", [])
        output._evtkit_watched = [*before, (handle, call, output._version)]  # type: ignore[attr-defined]  # our mark

    def _watch_last(self, output: Tensor) -> None:
        """The network has registered a hook that may change the gradient: ours come behind it."""
        watched = [found for found in getattr(output, "_evtkit_watched", []) if found[2] == output._version]
        for handle, _, _ in watched:
            handle.remove()
        output._evtkit_watched = []  # type: ignore[attr-defined]  # our mark
        for _, call, _ in watched:
            self._watch(output, call)

    def _still_good(self, output: Any) -> None:
        """Where an in-place ReLU changes a layer's output the gradient is zero, so for our sums it is unchanged."""
        call = getattr(output, "_evtkit_call", None)
        if call is not None and call.output is not None and output._version == call.output_version + 1:
            call.output_version = output._version

    def _let_go(self, output: Any) -> None:
        """What is done to its data leaves no trace: an output may not be what its layer has made any more."""
        call = getattr(output, "_evtkit_call", None)
        if call is not None:
            call.output, self.joins = None, False

    @property
    def anchor(self) -> Tensor:
        """A scalar that asks for a gradient, so that the first layers' outputs have one."""
        if self._anchor is None:
            device = next(iter(self._tracked.values())).device
            self._anchor = torch.zeros((), device=device, requires_grad=True)
        return self._anchor

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow within this context; hooks on layers whose type has a rule of its own go when it ends."""
        with ExitStack() as stack:
            rules: dict[type, Any] = {}
            for module in self._model.modules():
                found = rules.get(type(module), rules)
                if found is rules:  # the first of its type
                    found = rules[type(module)] = MODULE_RULES.find(module)
                name = self._names.get(id(getattr(module, found[0], None))) if found else None
                if found and name:
                    before = module.register_forward_pre_hook(partial(self._enter_layer, name))
                    stack.callback(before.remove)
                    after = module.register_forward_hook(partial(self._leave_layer, name, Operation(found[1], ())))
                    stack.callback(after.remove)
            stack.enter_context(self)
            yield

    def _enter_layer(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._own.add(name)

    def _leave_layer(
        self, name: str, operation: Operation, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> Tensor:
        self._own.discard(name)
        joins = self.joins
        output = self._follow(name, operation, {"module": module}, args[0], output)
        self.joins = joins  # our own hook is none of the network's
        return output

    def _link(self, bound: Mapping[str, Any], output: Any) -> None:
        """Remember which weight's output goes straight, unchanged, into which batch norm."""
        weight = self._all_names.get(id(bound.get("weight")), "")
        given = bound.get("input")
        source, version = getattr(given, "_evtkit_source", ("", 0))
        if "running_var" in bound and source and given is not None and given._version == version:
            self.followers.setdefault(source, set()).add(weight)
        if weight and isinstance(output, Tensor):
            output._evtkit_source = weight, output._version  # type: ignore[attr-defined]  # our mark

    def weigh(self, total: Tensor) -> None:
        """Run the backward pass of a weighted sum of losses, and measure every use's gradient."""
        self._backward = self._weighing = True
        try:
            total.backward(retain_graph=True)
        finally:
            self._weighing = False

    def backward(self, total: Tensor) -> None:
        """Run the backward pass of a scalar, delivering each weight's uses on the way.

        Raises
        ------
        RuntimeError
            If no tracked weight takes part in ``total``, or a checkpoint is reentrant.
        """
        self._backward = True
        total.backward()
        for name in [name for name, calls in self._arrived.items() if calls]:
            self._hand_over(name)  # its other uses have no path to the loss: their gradient is zero

    def check(self, total: Tensor) -> None:
        """Refuse a graph in which a gradient would be lost.

        Raises
        ------
        RuntimeError
            If no tracked weight takes part in ``total``, or a checkpoint is reentrant.
        """
        if self._unseen and _mentions(total.grad_fn, "CheckpointFunctionBackward"):
            raise RefusedError(
                "checkpointing must have use_reentrant=False, got the reentrant one: its layers run without a gradient "
                "first, and unseen later"
            )
        if not total.requires_grad:
            raise RefusedError(
                "units must lie between input and loss, not cut off by detach, no_grad or reentrant checkpointing, got "
                "a loss that no unit's gradient reaches"
            )

    def _arrive(self, call: Call, gradient: Tensor) -> None:
        call.gradient = gradient
        if self._weighing:
            assert call.gradient is not None
            call.measures.append(measure(gradient, call.leading))
            call.gradient = None
            return
        name = call.parameter
        if name in self._delivered:
            raise RuntimeError(f"gradients must be one a use, got one for {name} after all its uses had theirs")
        self._arrived[name].append(call)
        if self._additive or len(self._arrived[name]) == self._expected[name]:
            self._hand_over(name)

    def _hand_over(self, name: str) -> None:
        if not self._additive:
            self._delivered.add(name)
        calls, self._arrived[name] = self._arrived[name], []
        device = calls[0].input.device.type
        if torch.is_grad_enabled() or torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False), torch.no_grad():
                self._deliver(name, calls)
        else:
            self._deliver(name, calls)
        for call in calls:
            call.free()


def _version(x: Tensor) -> int:
    """How often a tensor has been changed in place; -1 for those of inference mode, which do not count."""
    return -1 if x.is_inference() else x._version


class _Root(torch.autograd.Function):
    """Identity whose output asks for a gradient; it may be changed in place, unlike a leaf or a view of one."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor) -> Tensor:
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None


def root(x: Tensor, anchor: Tensor) -> Tensor:
    """Let gradients flow to a tensor, as if something upstream asked for them."""
    return _Root.apply(x.detach(), anchor)  # type: ignore[no-any-return]  # torch gives apply no type


def _mentions(node: Any, name: str) -> bool:
    """Whether a graph holds a node of that name."""
    seen, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == name:
            return True
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False
