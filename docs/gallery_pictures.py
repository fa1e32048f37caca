"""The pictures of the gallery: evtkit draws without pyplot, so figures are looked for among an example's variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable


def _get_sg_image_scraper() -> Callable[..., str]:
    """What the gallery asks a module for."""
    return scrape


def scrape(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any], **_: Any) -> str:
    """Save every figure that a block has made, and return the text that shows them."""
    from sphinx_gallery.scrapers import figure_rst

    found = {
        id(figure): figure
        for value in block_vars["example_globals"].values()
        if isinstance(figure := getattr(value, "figure", value), Figure) and not hasattr(figure, "_is_in_gallery")
    }
    paths = []
    for figure in found.values():
        path = next(block_vars["image_path_iterator"])
        figure.savefig(path, dpi=110, bbox_inches="tight")
        figure._is_in_gallery = True
        paths.append(path)
    return str(figure_rst(paths, gallery_conf["src_dir"]))
