"""The documentation site: the pages of this folder and of the root, and the API reference from the docstrings.

    make docs

The source is the root of the repository, so that a page reads the same and its links lead to the same places here and
on the site.
"""

import mascing

project = "MASCing"
author = "The MASCing authors"
version = release = mascing.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_external_toc",
    "sphinxcontrib.mermaid",
    "sphinxcontrib.programoutput",
]
external_toc_path = "docs/contents.yml"
include_patterns = ["*.md", "docs/**", "docker/README.md", "examples/README.md"]
default_role = "code"  # as in Markdown: single backticks quote code

myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4

python_use_unqualified_type_names = True
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"MASCing {release}"
html_show_sphinx = False
