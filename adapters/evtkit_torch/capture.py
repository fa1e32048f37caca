"""Capture: every use of a tracked weight in one forward pass, with the gradient that comes back to it.

Weights are followed into the torch functions they enter (`TorchFunctionMode`), not into the modules they belong to.
So a subclass with a forward of its own, padding done beforehand, functional use and attention's hidden projections
are all seen as they happen, and whatever else is done with a weight is noticed too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from evtkit_torch.rules import DECOMPOSITIONS, MODULE_RULES, Operation, Rule, find_operation

__all__ = ["Call", "Capture"]

_CUTS = {torch.detach, torch.Tensor.detach, torch.Tensor.data.__get__}  # type: ignore[attr-defined]  # a descriptor
"""Functions through which no gradient flows, so that a weight may enter them freely."""

Deliver = Callable[[str, "Sequence[Call]"], None]
"""Receives a parameter's name and all its uses, as soon as the last of their gradients has arrived."""


@dataclass(eq=False)
class Call:
    """One use of a weight: the operation's input, and later the gradient of its output."""

    parameter: str
    rule: Rule
    options: Mapping[str, Any]
    input: Tensor
    version: int
    channels_last: bool
    gradient: Tensor | None = None


class Capture(TorchFunctionMode):
    """Follow tracked weights through a forward and a backward pass.

    Parameters
    ----------
    model : nn.Module
        The network. All its parameters must be frozen: a gradient is asked of activations only.
    tracked : mapping of str to Parameter
        Parameters to follow, by name.
    deliver : callable
        What to do with a weight's uses. Called inside the backward pass, so that they can be reduced and freed there.

    Attributes
    ----------
    used : set of str
        Tracked parameters that have entered an operation.
    followers : dict of str to set of str
        For a weight, the batch-norm scales its output goes straight into ("" for a batch norm without scale).
    """

    def __init__(self, model: nn.Module, tracked: Mapping[str, Tensor], deliver: Deliver) -> None:
        super().__init__()
        self.followers: dict[str, set[str]] = {}
        self._model = model
        self._tracked = tracked
        self._names = {id(parameter): name for name, parameter in tracked.items()}
        self._all_names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._deliver = deliver
        self._expected = dict.fromkeys(tracked, 0)
        self._arrived: dict[str, list[Call]] = {name: [] for name in tracked}
        self._delivered: set[str] = set()
        self._foreign: dict[str, str] = {}
        self._own: set[str] = set()  # parameters inside their layer's own rule at the moment
        self._backward = False
        self._anchor: Tensor | None = None

    @property
    def used(self) -> set[str]:
        """Tracked parameters that have entered an operation."""
        return {name for name, calls in self._expected.items() if calls}

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Note tracked weights among a function's arguments."""
        kwargs = kwargs or {}
        operation = find_operation(func)
        if operation is not None and operation.arguments[1:3] == ("running_mean", "running_var"):
            self._refuse_mixing(operation.bind(args, kwargs))
        names = [self._names[id(value)] for value in _values(args, kwargs) if id(value) in self._names]
        names = [name for name in names if name not in self._own]
        if names and func in DECOMPOSITIONS:
            with self:
                return DECOMPOSITIONS[func](*args, **kwargs)
        output = func(*args, **kwargs)
        if operation is not None:
            bound = operation.bind(args, kwargs)
            if len(names) == 1 and bound.get(operation.weight) is self._tracked[names[0]]:
                output = self._record(names[0], operation, bound, output)
                names = []
            self._link(bound, output)
        if names and torch.is_grad_enabled() and func not in _CUTS and _computes(output):
            self._foreign.update(dict.fromkeys(names, resolve_name(func) or repr(func)))
        return output

    def _record(self, name: str, operation: Operation, bound: Mapping[str, Any], output: Tensor) -> Tensor:
        source = bound[operation.input]
        options = {key: value for key, value in bound.items() if key not in (operation.input, operation.weight)}
        call = Call(name, operation.rule, options, source, source._version, operation.channels_last)
        return self._follow(call, output)

    def _follow(self, call: Call, output: Tensor) -> Tensor:
        if not self._backward:
            self._expected[call.parameter] += 1
        if not torch.is_grad_enabled():  # no gradient asked for, or a checkpoint that will run again
            return output
        if (
            not output.requires_grad
        ):  # nothing upstream asks for a gradient: it starts here, the input's is never computed
            output = root(output, self.anchor)
        output.register_hook(partial(self._arrive, call))
        return output

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
            for module in self._model.modules():
                found = MODULE_RULES.find(module)
                name = self._names.get(id(getattr(module, found[0], None))) if found else None
                if found and name:
                    before = module.register_forward_pre_hook(partial(self._enter_layer, name))
                    stack.callback(before.remove)
                    after = module.register_forward_hook(partial(self._leave_layer, name, found[1]))
                    stack.callback(after.remove)
            stack.enter_context(self)
            yield

    def _enter_layer(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._own.add(name)

    def _leave_layer(self, name: str, rule: Rule, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        self._own.discard(name)
        call = Call(name, rule, {"module": module}, args[0], args[0]._version, channels_last=False)
        return self._follow(call, output)

    def _link(self, bound: Mapping[str, Any], output: Any) -> None:
        """Remember which weight's output goes straight into which batch norm."""
        weight = self._all_names.get(id(bound.get("weight")), "")
        source = getattr(bound.get("input"), "_evtkit_source", None)
        if "running_var" in bound and source:
            self.followers.setdefault(source, set()).add(weight)
        if weight and isinstance(output, Tensor):
            output._evtkit_source = weight  # type: ignore[attr-defined]  # our mark

    def _refuse_mixing(self, bound: Mapping[str, Any]) -> None:
        if bound.get("training"):
            raise RuntimeError(
                "got a batch norm that normalises by its batch, wanted evaluation mode: samples would mix"
            )

    def backward(self, total: Tensor) -> None:
        """Run the backward pass of a scalar, delivering each weight's uses on the way.

        Raises
        ------
        RuntimeError
            If a tracked weight entered a function without a rule, no tracked weight takes part in ``total``, or an
            input was changed in place after its use.
        """
        if self._foreign:
            uses = ", ".join(f"{name} enters {function}" for name, function in list(self._foreign.items())[:5])
            raise RuntimeError(
                f"got weights in operations without a rule: {uses}. Wanted a rule for the layer (register), "
                "or a choice of units that leaves it out"
            )
        if _mentions(total.grad_fn, "CheckpointFunctionBackward"):
            raise RuntimeError(
                "got reentrant checkpointing, wanted use_reentrant=False: its layers run without a gradient first, "
                "and unseen later"
            )
        if not total.requires_grad:
            raise RuntimeError(
                "got a loss that no unit's gradient reaches, wanted units between input and loss, not cut off by "
                "detach, no_grad or reentrant checkpointing"
            )
        self._backward = True
        total.backward()
        for name in [name for name, calls in self._arrived.items() if calls]:
            self._hand_over(name)  # its other uses have no path to the loss: their gradient is zero

    def _arrive(self, call: Call, gradient: Tensor) -> None:
        if call.input._version != call.version:
            raise RuntimeError(
                f"got the input of {call.parameter} changed in place after its use, wanted it unchanged until the "
                "backward pass: its gradient would be wrong"
            )
        call.gradient = gradient
        name = call.parameter
        if name in self._delivered:
            raise RuntimeError(f"got a gradient for {name} after all its uses had theirs, wanted one a use")
        self._arrived[name].append(call)
        if len(self._arrived[name]) == self._expected[name]:
            self._hand_over(name)

    def _hand_over(self, name: str) -> None:
        self._delivered.add(name)
        calls, self._arrived[name] = self._arrived[name], []
        with torch.autocast(calls[0].input.device.type, enabled=False), torch.no_grad():
            self._deliver(name, calls)
        for call in calls:  # autograd keeps the hook, and with it the call, until the graph goes: free the tensors now
            call.input = call.gradient = None  # type: ignore[assignment]  # freed, never read again


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
    return _Root.apply(x, anchor)  # type: ignore[no-any-return]  # torch gives apply no type


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


def _values(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    for value in (*args, *kwargs.values()):
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def _computes(output: Any) -> bool:
    """Whether a function made something a gradient could flow through."""
    if isinstance(output, (list, tuple)):
        return any(_computes(value) for value in output)
    return isinstance(output, Tensor) and output.is_floating_point() and not isinstance(output, nn.Parameter)
