"""What Numba does with a kernel: its own passes, but those of no use to kernels; and each kind of call is typed once.

Half the time that Numba takes to compile a kernel goes into finding out again what `float64 + float64` is, and
into passes over constructs that kernels do not use.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import llvmlite.binding
from numba import types
from numba.core import base, postproc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Pipeline", "unwatched"]

_UNUSED = frozenset({
    "AnnotateTypes",  # the source with its types, for people
    "DeadBranchPrune",  # LLVM prunes them
    "InlineClosureLikes",  # no closures
    "InlineOverloads",
    "LiteralPropagationSubPipelinePass",
    "LiteralUnroll",
    "NopythonRewrites",  # no expressions of whole arrays
})  # fmt: skip

_SETTLED = frozenset({"PreLowerStripPhis", "ReconstructSSA"})
"""Passes after which Numba asks again how long each variable lives, which nothing before the legalization needs."""

_FREES = "IRLegalization"  # says where variables end, and so their arrays are freed


class _Typing:
    """Numba's typing context, which remembers what calls return."""

    _known: dict[Any, Any] = {}  # noqa: RUF012

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, kws: Any) -> Any:
        """The signature of a call. Methods and the like have a state for each call: there Numba is asked each time."""
        if kws or not isinstance(function, types.Function | str):
            return self._context.resolve_function_type(function, args, kws)
        key = function, args
        if key not in self._known:
            self._known[key] = self._context.resolve_function_type(function, args, kws)
        return self._known[key]

    def resolve_getitem(self, target: Any, index: Any) -> Any:
        """The signature of taking an element."""
        key = target, index
        if key not in self._known:
            self._known[key] = self._context.resolve_getitem(target, index)
        return self._known[key]


class _Library(JITCodeLibrary):
    """Where a kernel's code is put together, and optimised once.

    Numba optimises each function by itself first, and all of them cheaply, to find references that need not be counted.
    Of kernels that count none and may not fuse operations, no optimisation changes a bit.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        made = self._codegen._module_pass_manager()
        passes, *builder = made if isinstance(made, tuple) else (made,)  # newer Numbas give what built them, too
        passes.run(self._final_module, *builder)


class Pipeline(CompilerBase):
    """Numba's own way to machine code, shortened."""

    def __init__(self, typingctx: Any, *args: Any) -> None:
        super().__init__(_Typing(typingctx), *args)

    def define_pipelines(self) -> list[Any]:
        """The passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        unused = _UNUSED if self.state.flags.nrt else _UNUSED | {_FREES}
        passes.passes = [one for one in passes.passes if one[0].__name__ not in unused]
        passes.passes = [
            (_in_haste(one), text) if one.__name__ in _SETTLED else (one, text) for one, text in passes.passes
        ]
        passes.finalize()
        self.state.type_annotation = ""
        flags = self.state.flags
        if not flags.nrt and not flags.fastmath:
            self.state.library = _Library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
        return [passes]


class _NoLifetimes:
    """In place of Numba's search for how long variables live."""

    def __init__(self, func_ir: Any) -> None:
        func_ir.generator_info = None

    def run(self, **options: bool) -> None:
        """Nothing."""


@cache
def _in_haste(one: Any) -> Any:
    """A pass of Numba's without that search."""

    def run_pass(self: Any, state: Any) -> Any:
        found, postproc.PostProcessor = postproc.PostProcessor, _NoLifetimes  # type: ignore[misc, assignment]
        try:
            return one.run_pass(self, state)
        finally:
            postproc.PostProcessor = found  # type: ignore[misc]

    return register_pass(mutates_CFG=True, analysis_only=False)(type(one.__name__, (one,), {"run_pass": run_pass}))


_has_loc = cache(base._has_loc)


@contextmanager
def unwatched() -> Iterator[None]:
    """While a kernel is compiled, Numba measures no times, and knows what parameters its functions take.

    Each of thousands of calls of LLVM is an event, told to every kernel that waits for the one that is compiled. For
    the thread that holds Numba's lock.
    """
    lock = llvmlite.binding.ffi.lib._lock
    with lock._lock:
        found, lock._cblist = lock._cblist, []
    base._has_loc, before = _has_loc, base._has_loc
    try:
        yield
    finally:
        base._has_loc = before
        with lock._lock:
            lock._cblist = found
