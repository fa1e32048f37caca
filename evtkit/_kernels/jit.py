"""How every kernel is compiled: by itself, when first needed, cached on disk, without the GIL, with IEEE division.

Numba would copy the code of a kernel into every kernel that calls it, and compile each copy anew. Here a kernel is
compiled once and called by its address. So its instructions, and with them the last bits of a sum, cannot depend on who
calls it, nor on what was compiled before; and a program compiles only what it calls.

Kernels return status codes and raise nothing. Their types are in their signatures, so they carry no annotations.
"""

from __future__ import annotations

import dis
import gc
import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

import llvmlite.binding
from numba import njit, typeof, types
from numba.core import cgutils, config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.sigutils import normalize_signature
from numba.core.typing.templates import ConcreteTemplate, builtin_registry, signature
from numba.extending import lower_builtin

from evtkit._kernels.cache import STAMP, KernelCache
from evtkit._kernels.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Kernel", "entries", "kernel"]

_KERNELS: dict[str, Kernel] = {}

_DISABLED = "compilation disabled"
"""What Numba says to a thread that waited to compile while another one did."""


class _Form:
    """A kernel as Python calls it, or as kernels do, without what takes Python's objects apart."""

    def __init__(self, function: Any, options: dict[str, Any], *, for_python: bool) -> None:
        own = {"no_cpython_wrapper": not for_python, "pipeline_class": Pipeline}
        self.dispatcher: Any = njit(**options | own)(function)
        self.cache = KernelCache(function, _make_ready, "python" if for_python else "native")
        self.dispatcher._cache = self.cache  # what `cache=True` sets, of our own kind
        self.dispatcher._can_compile = False

    def compile(self, wanted: Any) -> Any:
        """Load or compile a signature."""
        self.cache.callees = []
        _OPEN.append(self.cache.callees)
        self.dispatcher._can_compile = True
        collects = gc.isenabled()
        gc.disable()  # a tenth of the time went into searching what Numba holds anyway for cycles
        try:
            self.dispatcher.compile(wanted)
        finally:
            if collects:
                gc.enable()
            self.dispatcher._can_compile = False
            _OPEN.pop()
        return self.dispatcher.overloads[wanted.args]


class Kernel:
    """A function that is compiled for the signatures it states, each when it is first called."""

    def __init__(self, function: Any, signatures: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.__name__, self.__doc__, self.__module__ = function.__name__, function.__doc__, function.__module__
        self.py_func = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        normal = [normalize_signature(each) for each in signatures]
        self.returned = [returned for _, returned in normal]
        options = options | {"_nrt": _owns_arrays(function) or any(map(_has_arrays, self.returned))}
        self._called = _Form(function, options, for_python=True)
        self._linked = _Form(function, options, for_python=False)
        self._signatures = [signature(returned, *taken) for taken, returned in normal]
        self._is_linked = [False] * len(normal)
        self._template = type("Template", (ConcreteTemplate,), {"key": self, "cases": self._signatures})
        builtin_registry.register_global(self, types.Function(self._template))
        for position, each in enumerate(self._signatures):
            lower_builtin(self, *each.args)(self._call(position))
        _KERNELS[self.name] = self

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def __call__(self, *args: Any) -> Any:
        """Call it from Python."""
        dispatcher = self._called.dispatcher
        try:
            return dispatcher(*args)
        except TypeError:  # perhaps it has not been compiled yet
            if len(dispatcher.overloads) == len(self._signatures):
                raise
        except RuntimeError as error:  # another thread has compiled it meanwhile
            if str(error) != _DISABLED:
                raise
        with global_compiler_lock:
            for each in self._suitable(args):
                self._called.compile(each)
        return dispatcher(*args)

    def _suitable(self, args: tuple[Any, ...]) -> list[Any]:
        """The signature for such arguments; all of them where there is none, for Numba to say so."""
        context = self._called.dispatcher.typingctx
        context.refresh()
        found = context.resolve_function_type(types.Function(self._template), tuple(map(typeof, args)), {})
        return [each for each in self._signatures if found is None or each.args == found.args]

    def make_all(self) -> None:
        """Load or compile all that Python may call."""
        with global_compiler_lock:
            for each in self._signatures:
                self._called.compile(each)

    def make_ready(self, position: int) -> None:
        """Load or compile a signature for other kernels."""
        if self._is_linked[position]:
            return
        found = self._linked.compile(self._signatures[position])
        address = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        llvmlite.binding.add_symbol(self._symbol(position), address)
        self._is_linked[position] = True

    def _symbol(self, position: int) -> str:
        return f"{self.name}.{position}.{STAMP}"

    def _call(self, position: int) -> Callable[..., Any]:
        """How another kernel calls this one: by its symbol, as Numba calls functions."""

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if _has_arrays(sig.return_type) and not context.enable_nrt:
                raise TypeError(f"a kernel that calls {self.name} must be known to own arrays")
            self.make_ready(position)
            _OPEN[-1].append((self.name, position))
            convention = context.call_conv
            form = convention.get_function_type(sig.return_type, sig.args)
            function = cgutils.get_or_insert_function(builder.module, form, self._symbol(position))
            status, result = convention.call_function(builder, function, sig.return_type, sig.args, args)
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return result

        return build


_PLAIN = frozenset({*dir(math), "size", "shape", "dtype", "type", "float32", "float64", "int32", "int64"})
"""Attributes that make no array, of numbers, arrays and modules."""


def _has_arrays(kind: Any) -> bool:
    """Whether a value of this type holds arrays."""
    return isinstance(kind, types.Array) or any(map(_has_arrays, getattr(kind, "types", ())))


def _owns_arrays(function: Any) -> bool:
    """Whether a kernel may make arrays, by itself or by what it calls, so that their references must be counted.

    The others are compiled faster and smaller without. Where one of these makes an array, Numba refuses it.
    """
    used = {one.argval for one in dis.get_instructions(function) if one.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    named = [function.__globals__.get(name) for name in function.__code__.co_names]
    of_modules = {name: getattr(one, name, None) for one in named if isinstance(one, ModuleType) for name in used}
    called = [one for one in (*named, *of_modules.values()) if isinstance(one, Kernel)]
    known = _PLAIN | {one.__name__ for one in called}
    return not used <= known or any(_has_arrays(kind) for one in called for kind in one.returned)


_OPEN: list[list[tuple[str, int]]] = [[]]  # what the kernels that are being compiled call, the innermost last


def _make_ready(callees: list[tuple[str, int]]) -> None:
    """Have ready what a kernel from the cache calls; its module has imported theirs."""
    for name, position in callees:
        _KERNELS[name].make_ready(position)


def entries() -> list[Kernel]:
    """The kernels, of the modules loaded, that Python calls: those that no kernel refers to, and a few besides."""
    named = {name for one in _KERNELS.values() for name in one.py_func.__code__.co_names if name != one.__name__}
    inner = [one for one in _KERNELS.values() if one.__name__ in named]
    return [one for one in _KERNELS.values() if one not in inner or one.name.rpartition("_kernels.")[2] in _BOTH]


_BOTH = ("follow.unroll", "grouped.mid_cell", "grouped.rounding", "sketch.spare_slots", "streams.advance")


def kernel(*signatures: Any, fused: bool = False, inline: bool = False) -> Callable[[Any], Any]:
    """Compile a function for these signatures when it is called.

    With `fused`, a product and the sum it goes into may be rounded once. Sums are never reordered. With `inline`, it
    becomes a part of the kernels that call it.
    """
    options: dict[str, Any] = {
        "nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": {"contract"} if fused else False,
        "no_cfunc_wrapper": True,
    }  # fmt: skip

    def compiled(function: Any) -> Any:
        if getattr(config, "DISABLE_JIT", 0):
            return function
        return njit(inline="always", **options)(function) if inline else Kernel(function, signatures, options)

    return compiled
