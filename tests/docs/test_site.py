"""The documentation site is built without a warning, holds every page, every public name and every command."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import mascing
from mascing.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    options = ("-W", "--keep-going", "-E", "-q", "-b", "html", "-c", str(DOCS), "-d", str(folder / "trees"))
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT), str(folder / "html")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_every_page_is_in_the_contents(site: Path) -> None:
    contents = yaml.safe_load((DOCS / "contents.yml").read_text(encoding="utf-8"))
    listed = {entry["file"] for part in contents["subtrees"] for entry in part["entries"]}
    assert {f"docs/{page.stem}" for page in (*DOCS.glob("*.md"), *DOCS.glob("*.rst"))} <= listed
    assert all((site / f"{page}.html").is_file() for page in listed)


def test_every_notebook_is_mentioned(site: Path) -> None:
    page = (site / "examples" / "README.html").read_text(encoding="utf-8")
    notebooks = sorted(path.name for path in (ROOT / "examples").glob("*.ipynb"))
    assert notebooks
    assert [name for name in notebooks if f'/{name}"' not in page] == []


def test_every_public_name_has_a_reference(site: Path) -> None:
    page = (site / "docs" / "api.html").read_text(encoding="utf-8")
    # `traces` stands there by its home, because the name is that of a package too.
    assert [name for name in mascing.__all__ if not re.search(rf'id="mascing\.([\w.]+\.)?{name}"', page)] == []


@pytest.mark.parametrize(
    "name",
    ["RunTraces.to_torch", "RunTraces.to_polars", "RunTraces.spec", "StoredTraces.parts", "TraceSet.padded",
     "SampleTrace", "Trace.logits",
     "Mask.__mul__", "Mask.__add__", "Steering.counters", "SideBySide.to_polars", "Pair.changed"],
)  # fmt: skip
def test_what_public_names_return_has_a_reference(site: Path, name: str) -> None:
    page = (site / "docs" / "api.html").read_text(encoding="utf-8")
    assert re.search(rf'id="mascing\.([\w.]+\.)?{name}"', page)


def test_every_command_shows_its_help(site: Path) -> None:
    page = (site / "docs" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in _commands(get_command(app)) if f"Usage: mascing {name} [OPTIONS]" not in page] == []


def _commands(group: Any) -> Iterator[str]:
    """The words of every command, `registry list` and the like."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from (f"{name} {inner}" for inner in _commands(command))
        else:
            yield name
