"""A page: words, tables and pictures in one HTML file that opens in any browser and needs nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from evtkit._common.files import write_atomic
from evtkit._common.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Part", "Row", "Section", "Table", "drawing", "picture", "write_page"]

_DPI = 160
_INK = "#000000"  # what Matplotlib draws text and axes with
_STYLE = (
    "<style>svg{--ink:#1d2328;fill:var(--ink)}@media (prefers-color-scheme:dark){svg{--ink:#e4e8eb}}"
    "@media print{svg{--ink:#000}}</style>"
)


@dataclass(frozen=True)
class Part:
    """A paragraph ("text"), "list", "table", "picture", "code" or "signature", and what is in it."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: list[Part]


@dataclass(frozen=True)
class Row:
    """Cells of a table's line, and its style: "", "group" (a line above) or "quiet" (grey)."""

    cells: Sequence[str]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """Cells as text; columns `text` stand to the left, columns `code` in the font of code."""

    head: Sequence[str]
    rows: list[Row]
    text: tuple[int, ...] = (0,)
    code: tuple[int, ...] = field(default=())


def picture(figure: Any, caption: str) -> Part:
    """A figure with its caption, as a PNG that the page itself holds: for pictures of very many points."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return _picture("png", stream.getvalue(), figure, caption)


def drawing(figure: Any, caption: str) -> Part:
    """A figure with its caption as an SVG, whose lines and letters are dark on light pages and light on dark ones."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "evtkit", "svg.fonttype": "path"}):  # the same picture is the same text
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "var(--ink)")
    head, rest = text.split(">", 1)
    return _picture("svg+xml", f"{head}>{_STYLE}{rest}".encode(), figure, caption)


def _picture(kind: str, content: bytes, figure: Any, caption: str) -> Part:
    data = base64.b64encode(content).decode("ascii")
    return Part("picture", {"kind": kind, "data": data, "caption": caption, "width": round(96 * figure.get_figwidth())})


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
) -> Path:
    """Write a page, atomically; whatever looks like HTML in it is shown as it is.

    Raises
    ------
    ValueError
        If the folder does not exist.
    ImportError
        If Jinja is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError("a report needs Jinja; install it with: pip install 'evtkit[report]'") from error
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")
    )
    content = page.render(title=title, lead=lead, facts=facts, sections=sections, version=__version__).encode()

    def write(stream: BinaryIO) -> None:
        stream.write(content)

    return write_atomic(path, write)
