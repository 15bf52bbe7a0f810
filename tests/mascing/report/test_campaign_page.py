"""The page of a campaign: its grid, its ranking, every cell, the papers beside ours, and what failed."""

from pathlib import Path

import pytest

from mascing.campaigns.folder import CampaignFolder
from mascing.campaigns.leaderboard import leaderboard
from mascing.report import build_index
from mascing.report.build import build_campaign
from mascing.report.figures.campaign_figures import ranking_figure
from mascing.storage import parquet
from mascing.storage.object_storage import Storage
from tests.mascing.campaigns.made_up import UPLIFTS, board
from tests.mascing.report.page_parts import Page

FOLDER = CampaignFolder("made-up-0123456789abcdef")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    storage = Storage.open(str(tmp_path_factory.mktemp("campaign")))
    return Page(Path(build_campaign(storage, FOLDER, board())).read_text(encoding="utf-8"))


def test_it_says_how_many_cells_are_there(page: Page) -> None:
    assert "12 of 16 cells are there, and 1 run or method failed." in page.all("header")[0].words()


def test_each_method_has_a_grid_of_models_by_behaviours(page: Page) -> None:
    heat, values = page.figures["grid-steermoe"]["data"]
    assert heat["z"] == [[50.0, 50.0], [50.0, None]]
    told = "+50.0<br>(+40.0 to +60.0)<br>utility −2.0<br>(−12.0 to +8.0)"
    assert values["text"] == [told, told, told, "failed"]
    assert "2 models, 2 behaviours, 2 methods, 2 seeds" in page.all("header")[0].words()


def test_one_seed_is_said_to_show_no_scatter_and_a_rank_that_never_moves_has_no_interval() -> None:
    ranking = board().ranking()
    one, several = (ranking_figure(ranking, {name: (1, 1) for name in UPLIFTS}, seeds) for seeds in (1, 2))
    assert one is not None
    assert several is not None
    assert "With one seed, the scatter between seeds is in none of them" in one.caption
    assert "With one seed" not in several.caption
    assert several.numbers is not None
    assert several.numbers.rows[0][1] == "1.00"


def test_methods_are_ranked_with_intervals(page: Page) -> None:
    header, first, *_ = page.table("Methods over all models and behaviours")
    assert header == ["Method", "Mean rank", "Mean uplift, points", "Highest uplift in", "Passes its gates in"]
    assert first[:2] == ["steermoe", "1.00"]
    assert first[2].startswith("+50.0 (+4")  # the interval of the cells, although all groups are alike
    assert first[3:] == ["100%", "6 of 6"]


def test_every_finished_cell_has_its_numbers(page: Page) -> None:
    header, *rows = page.table("Every cell; differences in percentage points with 95% intervals")
    assert len(rows) == 18
    row = dict(zip(header, rows[0], strict=True))
    assert row["Method"] == "steermoe published"
    assert row["Uplift"] == "+50.0 +40.0 to +60.0"
    assert row["Utility"].startswith("−2.0")
    assert "Judges, USD" not in header  # none of them has a price


def test_papers_stand_beside_our_means(page: Page) -> None:
    _, mean, other = page.table("Target rates beside those that papers report")
    assert mean[:7] == ["defence", "mean over models", "steermoe", "40.0%", "90.0%", "25.0%", "75.0%"]
    assert other[1:7] == ["a", "other", "–", "70.0%", "–", "–"]


def test_runs_link_to_their_pages_and_failures_have_their_reasons(page: Page) -> None:
    rows = page.table("Each with its own page; failed ones are tried again by the next start")
    assert rows[7] == ["policy on b, seed 0", "–", "the model does not load: bring another"]
    links = [link.attributes["href"] for link in page.all("a")]
    assert links[0] == "../../runs/a--defence--0-0123456789abcdef/report/index.html"
    assert len(links) == 6


def test_the_index_lists_campaigns(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.overwrite(FOLDER.leaderboard, parquet.to_bytes(leaderboard(board())))
    storage.overwrite("campaigns/of-another-version/leaderboard.parquet", b"PAR1")
    build_index(storage)
    index = Page(storage.read("index.html").decode())
    cells = {row[0]: row[2] for row in index.table("The latest first")[1:]}
    assert cells == {FOLDER.name: "12 of 16 cells, 2 failed", "of-another-version": "not readable by this version"}
    assert FOLDER.page in {link.attributes["href"] for link in index.all("a")}
