"""The description for an index page: the README without what only a checkout has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = ["IndexPage", "index_page"]


def index_page(readme: str) -> str:
    """Without pictures and links to files beside the README, of which an index page would make broken ones."""
    text = re.sub(r"^!\[[^\]]*\]\((?!\w+:)[^)]*\)\n+", "", readme, flags=re.MULTILINE)
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)[^)]*\)", r"\1", text)


class IndexPage(MetadataHookInterface):
    """Gives the project its description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it."""
        text = index_page((Path(self.root) / "README.md").read_text(encoding="utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
