"""Fill the templates of the pages, with style and scripts embedded, so that a page loads nothing.

plotly.js is embedded as gzip in base64, which takes a third of its size. The page unpacks it with pako and runs it as
an inline script, which the page's policy allows by the hash of its text, like every other script.
"""

import gzip
import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import mascing.report

_PLOTLY = "bundles/plotly-cartesian.min.js.gz"
_SCRIPTS = ("bundles/pako_inflate.umd.min.js", "plots.js", "samples.js")


def filled(template: str, *, scripts: bool = True, **parts: Any) -> str:
    """Render a template of this folder as HTML; ``scripts`` adds those that plots and samples need."""
    embedded = _scripts() if scripts else {}
    return _environment().get_template(template).render(style=Markup(_text("page.css")), **embedded, **parts)


def with_code(sentence: str) -> Markup:
    """Escape a sentence of ours, and set as code what it has between backticks; a terminal shows these as they are."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mascing", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = with_code
    return environment


@cache
def _scripts() -> dict[str, Any]:
    """Return the variables of the template that hold scripts, and the hashes by which the page's policy allows them."""
    texts = [_text(name) for name in _SCRIPTS]
    packed = (files(mascing.report) / _PLOTLY).read_bytes()
    hashes = [_hash(text.encode()) for text in texts] + [_hash(gzip.decompress(packed))]
    return {
        "scripts": [Markup(text) for text in texts],
        "plotly": Markup(b64encode(packed).decode()),
        "script_hashes": Markup(" ".join(hashes)),
    }


def _text(name: str) -> str:
    return (files(mascing.report) / name).read_text(encoding="utf-8")


def _hash(script: bytes) -> str:
    return f"'sha256-{b64encode(sha256(script).digest()).decode()}'"
