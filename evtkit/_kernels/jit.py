"""How every kernel is compiled: by itself, when first needed, cached on disk, without the GIL, with IEEE division.

Numba would copy the code of a kernel into every kernel that calls it, and compile each copy anew. Here a kernel is
compiled once and called by its address. So its instructions, and with them the last bits of a sum, cannot depend on who
calls it, nor on what was compiled before; and a program compiles only what it calls.

A kernel that is compiled `late` is one that most programs never reach: it is called through a pointer, and compiled
when a kernel finds the pointer empty.

Kernels return status codes and raise nothing. Their types are in their signatures, so they carry no annotations.
"""

from __future__ import annotations

import ctypes
import dis
import gc
import math
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import llvmlite.binding
from llvmlite import ir
from numba import njit, typeof, types
from numba.core import cgutils, config
from numba.core.callconv import RETCODE_EXC
from numba.core.compiler_lock import global_compiler_lock
from numba.core.sigutils import normalize_signature
from numba.core.typing.templates import ConcreteTemplate, builtin_registry, signature
from numba.extending import lower_builtin

from evtkit._kernels.bits import empty
from evtkit._kernels.cache import STAMP, KernelCache
from evtkit._kernels.pipeline import Pipeline, unwatched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Kernel", "entries", "kernel"]

_KERNELS: dict[str, Kernel] = {}


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
        dispatcher = self.dispatcher
        if wanted.args in dispatcher.overloads:
            return dispatcher.overloads[wanted.args]
        self.cache.callees = []
        _OPEN.append(self.cache.callees)
        try:
            found = self.cache.load_overload(wanted, dispatcher.targetctx)
            if found is None:
                with self.cache.kept(wanted) as keep, unwatched():
                    found = keep(dispatcher._compiler.compile(wanted.args, wanted.return_type))
            dispatcher.add_overload(found)
        finally:
            _OPEN.pop()
        return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles while Numba fills its tables, nor at once afterwards: it takes long and finds nothing."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            if gc.get_freeze_count() == 0:
                gc.freeze()  # all that lives counts as old
                gc.unfreeze()
            gc.enable()


class Kernel:
    """A function that is compiled for the signatures it states, each when it is first called."""

    def __init__(
        self, function: Any, signatures: tuple[Any, ...], options: dict[str, Any], *, late: bool = False
    ) -> None:
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
        self._pointers = [ctypes.c_void_p() for _ in normal] if late else []
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
            result = dispatcher(*args)
            if _interrupts:
                raise _interrupts.pop()
            return result
        except TypeError:  # perhaps it has not been compiled yet
            if len(dispatcher.overloads) == len(self._signatures):
                raise
        except SystemError:
            if _failed:
                raise _failed.pop() from None
            raise
        with global_compiler_lock, _uncollected():
            for each in self._suitable(args):
                self._called.compile(each)
        return self(*args)

    def _suitable(self, args: tuple[Any, ...]) -> list[Any]:
        """The signature for such arguments; all of them where there is none, for Numba to say so."""
        context = self._called.dispatcher.typingctx
        context.refresh()
        found = context.resolve_function_type(types.Function(self._template), tuple(map(typeof, args)), {})
        return [each for each in self._signatures if found is None or each.args == found.args]

    def make_all(self) -> None:
        """Load or compile all that Python may call."""
        with global_compiler_lock, _uncollected():
            for each in self._signatures:
                self._called.compile(each)
            while _awaited:
                one, position = next(iter(_awaited.values()))
                one.make_ready(position)

    def promise(self, position: int) -> None:
        """Have ready what other kernels refer to."""
        if not self._pointers:
            self.make_ready(position)
        elif not self._is_linked[position]:
            address = ctypes.addressof(self._pointers[position])
            llvmlite.binding.add_symbol(self._symbol(position), address)
            _awaited[address] = self, position

    def make_ready(self, position: int) -> None:
        """Load or compile a signature for other kernels."""
        if self._is_linked[position]:
            return
        found = self._linked.compile(self._signatures[position])
        address = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        if self._pointers:
            self._pointers[position].value = address
            _awaited.pop(ctypes.addressof(self._pointers[position]), None)
        else:
            llvmlite.binding.add_symbol(self._symbol(position), address)
        self._is_linked[position] = True

    def _symbol(self, position: int) -> str:
        return f"{self.name}.{position}.{STAMP}"

    def _call(self, position: int) -> Callable[..., Any]:
        """How another kernel calls this one: by its symbol, as Numba calls functions."""

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if _has_arrays(sig.return_type) and not context.enable_nrt:
                raise TypeError(f"a kernel that calls {self.name} must be known to own arrays")
            self.promise(position)
            _OPEN[-1].append((self.name, position))
            convention = context.call_conv
            form, symbol = convention.get_function_type(sig.return_type, sig.args), self._symbol(position)
            if self._pointers:
                function = _through_pointer(context, builder, form, symbol)
            else:
                function = cgutils.get_or_insert_function(builder.module, form, symbol)
            status, result = convention.call_function(builder, function, sig.return_type, sig.args, args)
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return result

        return build


_awaited: dict[int, tuple[Kernel, int]] = {}  # late kernels that have not been reached, by where their pointer is
_failed: list[BaseException] = []  # why one that was reached could not be compiled
_interrupts: list[KeyboardInterrupt] = []  # that came while one was compiled


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # type: ignore[untyped-decorator]
def _reached(address: int) -> None:
    """Compile a late kernel, for the kernel that waits. It is not left half-way: an interrupt comes when it is done."""
    while address in _awaited:
        try:
            with global_compiler_lock, _uncollected():
                if address in _awaited:
                    kernel, position = _awaited[address]
                    kernel.make_ready(position)
        except KeyboardInterrupt as error:
            _interrupts.append(error)
        except BaseException as error:
            _failed.append(error)
            break


_REACHED = f"evtkit.reached.{STAMP}"
llvmlite.binding.add_symbol(_REACHED, ctypes.cast(_reached, ctypes.c_void_p).value)


def _through_pointer(context: Any, builder: Any, form: Any, symbol: str) -> Any:
    """The address of a late kernel, which is compiled if nobody has been here."""
    module, word = builder.module, ir.IntType(8).as_pointer()
    pointer = module.globals.get(symbol) or ir.GlobalVariable(module, form.as_pointer(), symbol)
    with cgutils.if_unlikely(builder, cgutils.is_null(builder, builder.load(pointer))):
        compiler = cgutils.get_or_insert_function(module, ir.FunctionType(ir.VoidType(), [word]), _REACHED)
        builder.call(compiler, [builder.bitcast(pointer, word)])
    found = builder.load(pointer)
    with cgutils.if_unlikely(builder, cgutils.is_null(builder, found)):
        context.call_conv._return_errcode_raw(builder, RETCODE_EXC)
    return found


_PLAIN = frozenset({*dir(math), "size", "shape", "dtype", "type", "float32", "float64", "int32", "int64", "uint64"})
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
    if any(one is empty for one in named):
        return True
    known = _PLAIN | {one.__name__ for one in called}
    return not used <= known or any(_has_arrays(kind) for one in called for kind in one.returned)


_OPEN: list[list[tuple[str, int]]] = [[]]  # what the kernels that are being compiled call, the innermost last


def _make_ready(callees: list[tuple[str, int]]) -> None:
    """Have ready what a kernel from the cache calls; its module has imported theirs."""
    for name, position in callees:
        _KERNELS[name].promise(position)


def entries() -> list[Kernel]:
    """The kernels, of the modules loaded, that Python calls: those that no kernel refers to, and a few besides."""
    named = {name for one in _KERNELS.values() for name in one.py_func.__code__.co_names if name != one.__name__}
    inner = [one for one in _KERNELS.values() if one.__name__ in named]
    return [one for one in _KERNELS.values() if one not in inner or one.name.rpartition("_kernels.")[2] in _BOTH]


_BOTH = ("follow.unroll", "grouped.mid_cell", "grouped.rounding", "sketch.spare_slots", "streams.advance")


def kernel(*signatures: Any, fused: bool = False, inline: bool = False, late: bool = False) -> Callable[[Any], Any]:
    """Compile a function for these signatures when it is called, or with its callers, unless it is `late`.

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
        return (
            njit(inline="always", **options)(function) if inline else Kernel(function, signatures, options, late=late)
        )

    return compiled
