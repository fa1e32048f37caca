"""``evtkit warm-up``: compile every kernel now, so that nothing later waits for it."""

from __future__ import annotations

import importlib
import pkgutil
import time

import click

from evtkit.cli._terminal import say

__all__ = ["warm_up_command"]


@click.command("warm-up", short_help="Compile every kernel now: for images and installations.")
def warm_up_command() -> None:
    """Compile all kernels for this processor and keep them, so that no later command waits.

    Run it when an image is built. Kernels are kept beside the package, or in the folder that the environment variable
    NUMBA_CACHE_DIR names; where neither can be written to, in the user's folder for caches.

    \b
    Example:
      NUMBA_CACHE_DIR=/var/cache/evtkit evtkit warm-up
    """  # noqa: D301
    from tqdm import tqdm

    from evtkit import _kernels
    from evtkit._kernels.cache import FOLDERS
    from evtkit._kernels.jit import entries

    start = time.perf_counter()
    for module in pkgutil.iter_modules(_kernels.__path__):
        importlib.import_module(f"evtkit._kernels.{module.name}")
    wanted = entries()
    for one in tqdm(wanted, disable=None, unit="kernel"):
        one.make_all()
    say(f"{len(wanted)} kernels and what they call are in {FOLDERS[0]} ({time.perf_counter() - start:.1f} s)")
