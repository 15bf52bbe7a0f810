"""The looks of a user's own methods, which the table of looks does not list, beside the built-in ones."""

from pathlib import Path

import pytest

from mascing.report import build_report
from mascing.report.figures.grids import GridCell, grid_figures
from mascing.report.looks import LOOKS, in_order, looks_of
from mascing.storage.object_storage import Storage
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import write_run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a run with two methods of the user's own."""
    storage = Storage.open(str(tmp_path_factory.mktemp("run")))
    write_run(storage, methods=["tilt", "shift", "gradient"])
    return Page(Path(build_report(storage)).read_text(encoding="utf-8"))


def cell(method: str, **values: object) -> GridCell:
    return GridCell(method=method, cell=values, target_rate=0.5, judged=10, left="", foretold={}, picked=False)


def test_they_stand_between_the_built_in_methods_and_the_control() -> None:
    names = ["random", "tilt", "gradient", "shift", "baseline", "mascing"]
    assert in_order(names) == ["baseline", "mascing", "gradient", "shift", "tilt", "random"]


def test_no_two_look_alike() -> None:
    looks = looks_of([*LOOKS, *(f"method-{number}" for number in range(7))])
    assert len({look.symbol for look in looks.values()}) == len(looks)
    many = looks_of(f"method-{number}" for number in range(28)).values()
    assert len({(look.colour, look.symbol) for look in many}) == 28


def test_every_part_of_the_page_shows_them(page: Page) -> None:
    _, *rows = page.table("Test split: percent and percentage points, with 95% intervals")
    assert [row[0] for row in rows] == ["baseline", "gradient", "shift", "tilt", "random"]
    assert {"map-shift", "map-tilt"} <= page.figures.keys()
    assert {row[0] for row in page.table("Rates on the dev split")[1:]} == {"gradient", "shift", "tilt"}


def test_a_method_looks_the_same_in_every_plot(page: Page) -> None:
    looks: dict[str, set[tuple[str, str]]] = {}
    for key, figure in page.figures.items():
        if key.startswith(("rate-", "tradeoff-", "uplift-")):
            for trace in figure["data"]:
                looks.setdefault(trace["name"], set()).add((trace["marker"]["color"], trace["marker"]["symbol"]))
    assert looks.keys() == {"baseline", "gradient", "shift", "tilt", "random"}
    assert all(len(used) == 1 for used in looks.values())
    assert len({symbol for used in looks.values() for _, symbol in used}) == 5


def test_their_grids_are_spanned_by_what_varies_most(page: Page) -> None:
    keys = [key for key in page.figures if key.startswith("grid-shift-") and key.endswith("-target")]
    assert keys == ["grid-shift-0-left-target", "grid-shift-0-left-right-target"]
    layout = page.figures[keys[0]]["layout"]
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]) == ("reach", "depth")
    assert layout["xaxis"]["ticktext"] == ["0.1", "0.2", "0.4", "0.8"]
    assert layout["yaxis"]["ticktext"] == ["1", "2", "–"]
    assert all(value is not None for row in page.figures[keys[0]]["data"][0]["z"] for value in row)


@pytest.mark.parametrize("cells", [[cell("one")], [cell("one", alpha=alpha) for alpha in (2.0, 1.0)]])
def test_a_grid_may_have_one_axis_or_none(cells: list[GridCell]) -> None:
    [[figure]] = grid_figures(cells, {}).values()
    assert figure.spec["data"][0]["z"] == [[50.0] * len(cells)]
