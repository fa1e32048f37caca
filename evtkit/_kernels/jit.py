"""How every kernel is compiled: cached on disk, without the GIL, with IEEE division, for the signatures it states.

Kernels return status codes and raise nothing. Their types are in their signatures, so they carry no annotations.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["kernel"]


def _forget_stale_kernels() -> None:
    """Delete the compiled kernels if the content of a kernel's source has changed since they were compiled.

    Numba looks only at a kernel's own file; one that has another compiled into it would go on with the old code.
    """
    folder = Path(__file__).parent
    stamp = folder / "__pycache__" / "kernels.stamp"
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    now = digest.hexdigest()
    try:
        if stamp.exists() and stamp.read_text() == now:
            return
        for index in stamp.parent.glob("*.nbi"):
            index.unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(now)
    except OSError:  # a read-only installation: its sources do not change
        return


_forget_stale_kernels()


def kernel(*signatures: Any, fused: bool = False, inline: bool = False) -> Callable[[Any], Any]:
    """Compile a function for these signatures.

    With `fused`, multiplications and additions may be contracted and sums reordered, once and for all at compile time.
    """
    return njit(
        list(signatures),
        cache=True,
        nogil=True,
        error_model="numpy",
        boundscheck=False,
        inline="always" if inline else "never",
        fastmath={"contract", "reassoc", "nsz"} if fused else False,
    )
