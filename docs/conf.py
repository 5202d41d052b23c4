# SPDX-License-Identifier: Apache-2.0
"""Sphinx reads this: the pages are Markdown, the reference comes from the docstrings."""

import importlib.metadata
from pathlib import Path

project = "convsmith"
author = copyright = "the convsmith maintainers"
release = importlib.metadata.version("convsmith")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_title = f"convsmith {release}"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing"]  # README links point into the repository, not the pages

# Each family explains itself in its own folder; here its page is fetched from there.
_docs = Path(__file__).parent
_pages = _docs / "families"
_pages.mkdir(exist_ok=True)
for _readme in sorted((_docs.parent / "src" / "convsmith" / "convs").glob("*/README.md")):
    (_pages / f"{_readme.parent.name}.md").write_text(_readme.read_text())


def _as_written(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are written to be read in a terminal, formulas and all: show them as they are."""
    lines[:] = [".. code-block:: text", "", *(f"    {line}" for line in lines), ""]


def setup(app) -> None:
    app.connect("autodoc-process-docstring", _as_written)
