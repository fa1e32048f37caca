"""The ``evtkit`` command, or how to get what it needs."""

from __future__ import annotations

import gc
import sys
from importlib.util import find_spec

__all__ = ["main"]

NEEDED = ("click", "rich", "polars")


def main() -> None:
    """Run the command; where the extra ``cli`` is not installed, say so and exit with code 2."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        sys.stderr.write(f"evtkit: the command needs {', '.join(missing)}: pip install 'evtkit[cli]'\n")
        sys.exit(2)
    from evtkit.cli import main as command

    try:
        command(prog_name="evtkit")
    finally:
        gc.freeze()  # nothing is searched for cycles when the process ends


if __name__ == "__main__":
    main()
