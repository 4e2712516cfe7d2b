"""How Sphinx builds the documentation; warnings are errors (``nox -s docs``)."""

from __future__ import annotations

import importlib.metadata

project = "changehook"
author = "The changehook authors"
project_copyright = "The changehook authors"
release = importlib.metadata.version("changehook")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"changehook {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
