"""What reaches the terminal: in any encoding, without control characters, and with an exit code if it cannot be told.

Every command prints through `say` or `evtkit.cli._report`, and every failure of a command ends in `told`.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
import traceback
import unicodedata
from typing import TYPE_CHECKING, Any

import click

from evtkit._common.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BAD_INPUT", "FAILURE", "as_json", "fallback", "prepare", "say", "spelled", "told"]

BAD_INPUT = 2
"""Exit code of wrong usage, of input that is refused and of output that cannot be written."""

FAILURE = 3
"""Exit code of a failure of evtkit itself."""

_LONGEST = 2000  # characters of a line
_SPELLINGS = {
    "ξ": "xi", "σ": "sigma", "Σ": "Sum", "∂": "d", "±": "+/-", "−": "-", "–": "-", "·": "*", "×": "x", "…": "...",
    "≥": ">=", "≤": "<=", "∞": "inf", "“": '"', "”": '"', "’": "'", "─": "-", "√": "sqrt", "→": "->",
    "▁": "_", "▂": ".", "▃": "-", "▄": "=", "▅": "+", "▆": "*", "▇": "%", "█": "#",
}  # fmt: skip


def fallback(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: a spelling of ours, else their escape sequences."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


codecs.register_error("evtkit", fallback)


def prepare() -> None:
    """Let the standard streams spell what their encoding lacks, where they would fail."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # it may be closed, or a stream of another kind
            stream.reconfigure(errors="evtkit")  # type: ignore[union-attr]


def say(line: str = "", *, err: bool = False, **style: Any) -> None:
    """Print a line, without control characters; `style` is that of `click.style`."""
    text = plain(line, _LONGEST)
    click.echo(click.style(text, **style) if style else text, file=sys.stderr if err else sys.stdout)


def spelled(text: str, encoding: str | None) -> str:
    """A text as a stream of this encoding will show it."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "evtkit").decode(encoding)


def as_json(document: Any, *, indent: int | None = None) -> str:
    """A strict JSON document for the standard output: JSON's own escape sequences for what must not reach a terminal.

    So for all but ASCII, where the output's encoding may lack it.
    """
    encoding = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name
    text = json.dumps(document, indent=indent, allow_nan=False, ensure_ascii=not encoding.startswith("utf"))
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else json.dumps(c)[1:-1] for c in text).replace(
        "\x7f", r"\u007f"
    )


class _Ended(click.ClickException):
    """An end of which there is nothing more to say."""

    def __init__(self) -> None:
        super().__init__("")

    def show(self, file: Any = None) -> None:
        """Say nothing."""


class _Failed(_Ended):
    exit_code = FAILURE


class _Interrupted(_Ended):
    exit_code = 130  # as a shell reports SIGINT


class _ReaderGone(_Ended):
    exit_code = 141  # as a shell reports SIGPIPE


class _BadInput(click.ClickException):
    exit_code = BAD_INPUT


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What is refused within becomes one line and an exit code; a traceback is shown for faults of our own only."""
    try:
        yield
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
        raise
    except click.ClickException as error:
        lines = error.message.replace("\t", "    ").split("\n")
        vars(error)["message"] = "\n".join(plain(line, _LONGEST) for line in lines)
        raise
    except (KeyboardInterrupt, click.Abort):
        raise _Interrupted from None
    except BrokenPipeError:
        _give_up_output()
        raise _ReaderGone from None
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, OSError):
            _give_up_output()
        raise _BadInput(plain(" ".join(str(error).split()), 1000)) from error
    except Exception:
        traceback.print_exc()
        raise _Failed from None


def _give_up_output() -> None:
    """If the standard output takes nothing any more, what waits to be written is not tried again at the end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
