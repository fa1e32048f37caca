"""How every kernel is compiled: cached on disk, without the GIL, with IEEE division, for the signatures it states.

Kernels return status codes and raise nothing. Their types are in their signatures, so they carry no annotations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit

from evtkit._kernels.cache import KernelCache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["kernel"]


def kernel(*signatures: Any, fused: bool = False, inline: bool = False) -> Callable[[Any], Any]:
    """Compile a function for these signatures.

    With `fused`, multiplications and additions may be contracted and sums reordered, once and for all at compile time.
    """

    def compiled(function: Any) -> Any:
        dispatcher = njit(
            nogil=True,
            error_model="numpy",
            boundscheck=False,
            inline="always" if inline else "never",
            fastmath={"contract", "reassoc", "nsz"} if fused else False,
        )(function)
        if hasattr(dispatcher, "compile"):  # not where NUMBA_DISABLE_JIT is set
            dispatcher._cache = KernelCache(function)
            for signature in signatures:
                dispatcher.compile(signature)
            dispatcher.disable_compile()
        return dispatcher

    return compiled
