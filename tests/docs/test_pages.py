"""The docs are consistent: links resolve, lines are short, and the commands and modules they name exist."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

from mascing.cli import app
from tests.docs import settings_page

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(ROOT / name for name in ("docker/README.md", "examples/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
WIDTH = 120
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_links(page: Path) -> Iterator[str]:
    """Relative links of a page without a matching file or heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            yield link


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(missing_links(page)) == []


@every_page
def test_prose_is_wrapped(page: Path) -> None:
    prose = CODE.sub("", page.read_text(encoding="utf-8")).splitlines()
    long = [line for line in prose if len(line) > WIDTH and not line.startswith(("|", "    ")) and "://" not in line]
    assert long == []


@every_page
def test_modules_to_run_are_there(page: Path) -> None:
    modules = re.findall(r"python -m ((?:tests|mascing)[\w.]*)", page.read_text(encoding="utf-8"))
    assert [module for module in modules if find_spec(module) is None] == []


@every_page
def test_files_named_in_code_are_there(page: Path) -> None:
    files = re.findall(r"`((?:mascing|tests|infra|docker|\.github)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in files if not (ROOT / name).exists()] == []


@every_page
def test_commands_are_there(page: Path) -> None:
    known = vars(get_command(app))["commands"]
    for name, inner in re.findall(
        r"(?:^|`)mascing ([a-z]+)(?: ([a-z][a-z-]*))?", page.read_text(encoding="utf-8"), re.M
    ):
        assert name in known
        assert not hasattr(known[name], "commands") or not inner or inner in known[name].commands


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](#here) [b](#there) [c](none.md) [d](https://example.org/x.md)", encoding="utf-8")
    assert list(missing_links(page)) == ["#there", "none.md"]


def test_the_page_of_settings_is_current() -> None:
    """`python -m tests.docs.settings_page` writes it."""
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page()
