"""The pages in a real browser: readable for everybody, at any width, on paper, and without a network."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from mascing.campaigns.folder import CampaignFolder
from mascing.report import build_index, build_report
from mascing.report.build import build_campaign
from mascing.storage.object_storage import Storage
from tests.mascing.campaigns.made_up import board
from tests.mascing.report.made_up_audit import FOLDER as AUDIT
from tests.mascing.report.made_up_audit import audit
from tests.mascing.report.run_on_disk import FOLDER, write_run

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason=f"none of {', '.join(_NAMES)} is installed"
)

RULES: dict[str, dict[str, object]] = {
    "light": {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}},
}
"""The dark pages differ in colours alone."""
IN_FULL: dict[str, object] = {"resultTypes": ["violations"]}
"""Of what passes, one node a rule is described, not thousands."""
PAGES = ("report", "audit", "campaign", "index")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run with every section, that of an audit, and the index of both."""
    storage = Storage.open(str(tmp_path_factory.mktemp("run")))
    write_run(storage, methods=("mascing", "gradient"))
    storage.overwrite(AUDIT.audit, audit().model_dump_json().encode())
    return {
        "report": Path(build_report(storage, FOLDER.name)),
        "audit": Path(build_report(storage, AUDIT.name)),
        "campaign": Path(build_campaign(storage, CampaignFolder("made-up-0123456789abcdef"), board())),
        "index": Path(build_index(storage)),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, f"CI checks the pages in a browser: install one of {', '.join(_NAMES)}"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(browser: Browser, path: Path, width: int = 1280, scheme: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(path.as_uri())
    return page


def unfold(page: Page) -> None:
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.wait_for_function("[...document.querySelectorAll('.drawing')].every((node) => node.querySelector('svg'))")


@pytest.mark.parametrize("name", PAGES)
def test_nobody_is_shut_out_in_light_or_dark(browser: Browser, pages: dict[str, Path], name: str, scheme: str) -> None:
    page = opened(browser, pages[name], scheme=scheme)
    unfold(page)
    found = Axe().run(page, options=RULES[scheme] | IN_FULL)
    assert found.response["passes"]
    assert found.violations_count == 0, found.generate_report()
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Browser, pages: dict[str, Path], name: str) -> None:
    page = opened(browser, pages[name], width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_small_draws_its_plots_and_asks_the_network_for_nothing(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    assert pages[name].stat().st_size < 1_500_000
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(pages[name].as_uri())
    unfold(page)
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert page.locator(".drawing svg.main-svg").count() >= page.locator("figure").count()
    page.close()


def test_the_answers_are_on_the_first_screen(browser: Browser, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["report"])
    assert page.locator(".summary dt").all_inner_texts() == [
        "What was asked",
        "What changed",
        "What it cost",
        "What is not known",
        "What next",
    ]
    assert page.evaluate("document.querySelector('.summary').getBoundingClientRect().bottom") <= 900
    page.close()


@pytest.mark.parametrize(("name", "most"), [("report", 9), ("audit", 2), ("index", 1)])
def test_a_page_prints_in_short(browser: Browser, pages: dict[str, Path], name: str, most: int) -> None:
    page = opened(browser, pages[name], scheme="dark")
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type /Page\b", printed)) <= most
    page.close()


def test_samples_are_filtered_from_the_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["report"])
    shown, count = page.locator(".sample:visible"), page.locator("#filter output")
    everything = page.locator(".sample").count()
    assert count.inner_text() == f"{everything} samples"
    page.locator("#filter [name=set]").focus()
    page.keyboard.type("Util")  # chooses the option that begins so
    assert {sample.get_attribute("data-set") for sample in shown.all()} == {"utility/benign"}
    page.locator("#filter [type=reset]").press("Enter")
    page.wait_for_function("document.querySelector('#filter output').textContent.endsWith('samples')")
    for name, outcome in (("before", "miss"), ("after", "hit")):
        page.locator(f"#filter [name={name}]").focus()
        page.keyboard.type(outcome)
    gained = shown.count()
    assert 0 < gained < everything
    assert all(sample.get_attribute("data-before") == "miss" for sample in shown.all())
    key = shown.first.locator("h4").inner_text()
    page.keyboard.press("Tab")
    page.keyboard.type(key)
    assert shown.locator("h4").all_inner_texts() == [key]
    assert count.inner_text() == f"1 of {everything} samples"
    page.close()
