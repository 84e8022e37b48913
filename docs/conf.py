"""Sphinx's settings: `sphinx-build -W -b html docs docs/_build/html` (needs `pip install '.[docs]'`)."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

from simbench.core.version import __version__  # noqa: E402

project = "simbench"
author = copyright = "The simbench developers"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "generated_pages",
    "docstrings",
    "repository_links",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # two classes of one name, in an annotation

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_attr_annotations = False
add_module_names = False
highlight_language = "none"
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = "simbench"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["../leaderboards"]  # the boards' own pages, and the entries that they point to
html_copy_source = False
