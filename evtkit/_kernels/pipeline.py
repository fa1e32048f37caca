"""What Numba does with a kernel: its own passes, but those of no use to kernels; and each kind of call is typed once.

Half the time that Numba takes to compile a kernel goes into finding out again what `float64 + float64` is, and
into passes over constructs that kernels do not use.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.compiler import CompilerBase, DefaultPassBuilder

__all__ = ["Pipeline"]

_UNUSED = frozenset({
    "DeadBranchPrune",  # LLVM prunes them
    "InlineClosureLikes",  # no closures
    "InlineOverloads",
    "LiteralPropagationSubPipelinePass",
    "LiteralUnroll",
    "NopythonRewrites",  # no expressions of whole arrays
})  # fmt: skip

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


class Pipeline(CompilerBase):
    """Numba's own way to machine code, shortened."""

    def __init__(self, typingctx: Any, *args: Any) -> None:
        super().__init__(_Typing(typingctx), *args)

    def define_pipelines(self) -> list[Any]:
        """The passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        unused = _UNUSED if self.state.flags.nrt else _UNUSED | {_FREES}
        passes.passes = [one for one in passes.passes if one[0].__name__ not in unused]
        passes.finalize()
        return [passes]
