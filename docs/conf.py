"""Sphinx configuration: build with ``make docs``; nothing is fetched, and warnings are errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from docutils.utils.math.latex2mathml import tex2mathml

import evtkit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "adapters"), str(HERE)]

project = "evtkit"
author = copyright = "The evtkit developers"
version = release = evtkit.__version__

extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode", "numpydoc", "sphinx_copybutton",
    "sphinx_design", "sphinx_gallery.gen_gallery",
]  # fmt: skip
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery"], "gallery_dirs": ["gallery"], "filename_pattern": r"\.py",
    "image_scrapers": ("gallery_pictures",), "reset_modules": (), "capture_repr": (), "abort_on_example_error": True,
    "min_reported_time": float("inf"), "write_computation_times": False, "show_memory": False, "show_signature": False,
    "download_all_examples": False, "promote_jupyter_magic": False, "doc_module": ("evtkit",),
    "backreferences_dir": None,
}  # fmt: skip
copybutton_prompt_text = r">>> |\.\.\. |\$ "  # what is copied can be run: no prompts, and no output
copybutton_prompt_is_regexp = True
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py", "sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "py:obj"
highlight_language = "default"
trim_doctest_flags = True
html_math_renderer = "mathml"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = f"evtkit {release}"
html_static_path = ["_static"]
html_css_files = ["evtkit.css"]
html_show_sourcelink = False
html_copy_source = False
html_favicon = "_static/favicon.svg"
html_baseurl = os.environ.get("DOCS_URL", "")  # where the pages will be: a link that is shared then shows a card
html_extra_path = ["_build/card"]
(HERE / "_build" / "card").mkdir(parents=True, exist_ok=True)
html_context = {"html_baseurl": html_baseurl}
html_theme_options = {
    "logo": {"text": "evtkit", "image_light": "_static/logo-light.svg", "image_dark": "_static/logo-dark.svg"},
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
}
html_sidebars = {"index": []}


def _inline(self, node):
    self.body.append(tex2mathml(node.astext()))
    raise _skip()


def _display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math"))
    parts = [part for part in node.astext().split("\n\n") if part.strip()]
    self.body.extend(tex2mathml(part, as_block=True) for part in parts)
    self.body.append("</div>")
    raise _skip()


def _skip():
    from docutils.nodes import SkipNode

    return SkipNode()


def _draw(app):
    import pictures

    pictures.draw(HERE / "_build" / "pictures")
    pictures.draw_card(HERE / "_build" / "card")


def setup(app):
    """Formulas as MathML, which browsers draw by themselves; pictures drawn by the code that they are about."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("builder-inited", _draw)
