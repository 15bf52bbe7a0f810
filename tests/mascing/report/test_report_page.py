import base64
import gzip
import hashlib
import os
import re
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
import pytest

import mascing.report
from mascing.report import build_report
from mascing.schemas.result import Result
from mascing.storage.object_storage import Storage
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import (
    FOLDER,
    HITS,
    SIGMA,
    TRUTH,
    write_run,
)


def test_the_page_loads_nothing_from_anywhere(page: Page) -> None:
    loaded = [
        element.attributes[name]
        for tag in ("script", "link", "img", "iframe", "object", "embed", "source", "video", "audio", "form", "base")
        for element in page.all(tag)
        for name in ("src", "href", "data", "srcset", "action")
        if name in element.attributes
    ]
    assert loaded == ["data:,"]
    assert all(link.attributes["href"].startswith("#") for link in page.all("a"))
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_the_browser_is_told_to_load_nothing_and_to_run_its_own_scripts_alone(page: Page) -> None:
    (policy,) = (
        meta.attributes["content"]
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = {name: values for name, *values in (rule.split() for rule in policy.split(";"))}
    scripts = [script.text.encode() for script in page.all("script") if "type" not in script.attributes]
    (packed,) = (script.text for script in page.all("script") if script.attributes.get("id") == "plotly")
    unpacked = gzip.decompress(base64.b64decode(packed))
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in (*scripts, unpacked)]
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == [f"'sha256-{value}'" for value in hashes]
    assert "connect-src" not in rules
    assert len(scripts) == 3


def test_the_bundles_are_those_that_their_table_names() -> None:
    bundles = files(mascing.report) / "bundles"
    rows = re.findall(r"^\| `(\S+)` \|.*`([0-9a-f]{64})` \|$", (bundles / "ORIGIN.md").read_text(), flags=re.M)
    found = {}
    for name, _ in rows:
        data = (bundles / name).read_bytes()
        found[name] = hashlib.sha256(gzip.decompress(data) if name.endswith(".gz") else data).hexdigest()
    assert found == dict(rows)
    scripts = {entry.name for entry in bundles.iterdir() if entry.name.endswith((".js", ".gz"))}
    assert scripts == found.keys()


def test_every_method_stands_in_the_table_with_its_numbers(page: Page, result: Result) -> None:
    head, *rows = page.table("Test split: percent and percentage points, with 95% intervals")
    assert [row[0] for row in rows] == ["baseline", "mascing", "steermoe", "gradient", "random"]
    for row in rows[1:]:
        cells, method = dict(zip(head, row, strict=True)), result.methods[row[0]]
        rate, loss = method.target_rate, method.utility["benign"]
        assert cells["Target"] == f"{100 * rate.value:.1f}% {100 * rate.low:.1f} to {100 * rate.high:.1f}"
        assert cells["Utility: benign"].startswith(f"{100 * loss.value:.1f}%")
        assert cells["Circuit precision"] == f"{100 * (method.circuit_precision or 0):.1f}%"
        assert cells["Gate"] == method.gate
    control = dict(zip(head, rows[-1], strict=True))
    change = 100 * (result.methods["random"].utility["benign"].value - result.baseline.utility["benign"].value)
    assert control["Utility: benign, change"].startswith(f"{change:.1f}".replace("-", "−"))


def test_every_plot_is_sound_named_and_told_in_words(page: Page) -> None:
    assert len(page.figures) > 15
    for figure in page.all("figure"):
        spec = page.figures[figure.attributes["id"]]
        layout = go.Figure(spec).layout  # raises on properties unknown to plotly
        (drawn,) = (node for node in figure.all("div") if node.attributes.get("role") == "img")
        assert figure.all("h3")[0].words()
        assert len(drawn.attributes["aria-label"]) > 40
        assert layout.xaxis.title.text
        assert layout.yaxis.title.text or layout.yaxis.type == "category"


def test_every_colour_of_a_plot_is_in_the_light_and_in_the_dark_palette(html: str, page: Page) -> None:
    used = set(re.findall(r"var\((--[a-z]+)\)", " ".join(map(str, page.figures.values()))))
    light, dark = re.findall(r":root(?::not\(\.printing\))? \{(.*?)\}", page.all("style")[0].text, flags=re.S)
    assert used
    assert used <= set(re.findall(r"(--[a-z]+):", light))
    assert used <= set(re.findall(r"(--[a-z]+):", dark))


def test_intervals_are_drawn_around_the_rates(page: Page, result: Result) -> None:
    traces = {trace["name"]: trace for trace in page.figures["rate-target"]["data"]}
    rate = result.methods["mascing"].target_rate
    assert list(traces) == ["baseline", "mascing", "steermoe", "gradient", "random"]
    assert traces["mascing"]["x"] == [pytest.approx(100 * rate.value)]
    assert traces["mascing"]["error_x"]["array"] == [pytest.approx(100 * (rate.high - rate.value))]
    assert traces["mascing"]["error_x"]["arrayminus"] == [pytest.approx(100 * (rate.value - rate.low))]
    assert {"rate-utility-benign", "rate-protected-forbidden"} <= page.figures.keys()


def test_uplift_is_drawn_against_the_change_of_each_kept_set_with_the_gates(page: Page, result: Result) -> None:
    figure = page.figures["tradeoff-utility-benign"]
    traces = {trace["name"]: trace for trace in figure["data"]}
    control = result.methods["random"]
    change = control.utility["benign"].value - result.baseline.utility["benign"].value
    assert traces["random"]["x"] == [pytest.approx(100 * control.uplift.value)]
    assert traces["random"]["y"] == [pytest.approx(100 * change)]
    lines = {(shape["x0"], shape["y0"]) for shape in figure["layout"]["shapes"]}
    assert lines == {(10, 0), (0, -10)}
    assert "tradeoff-protected-forbidden" in page.figures


def test_maps_show_masks_in_units_of_sigma_with_the_planted_circuit_outlined(page: Page) -> None:
    z = page.figures["map-gradient"]["data"][0]["z"]
    entries = {(layer, expert): value for layer, row in enumerate(z) for expert, value in enumerate(row) if value}
    assert entries == {place: pytest.approx(1.5 * value) for place, value in TRUTH.items()}
    outlines = page.figures["map-mascing"]["layout"]["shapes"]
    assert {(shape["y0"] + 0.5, shape["x0"] + 0.5) for shape in outlines} == TRUTH.keys()
    assert {value for row in page.figures["map-steermoe"]["data"][0]["z"] for value in row} == {-1, 0, 1}
    assert page.figures["map-truth"]["data"][0]["z"][1][3] == 1
    assert len(z) == len(SIGMA)


def test_the_attribution_of_all_experts_is_shown_in_nats_a_sigma_with_its_precision(page: Page, html: str) -> None:
    z = page.figures["map-attribution"]["data"][0]["z"]
    entries = {(layer, expert): value for layer, row in enumerate(z) for expert, value in enumerate(row) if value}
    assert entries == {place: pytest.approx(value / 2 * SIGMA[place[0]]) for place, value in TRUTH.items()}
    assert len(page.figures["map-attribution"]["layout"]["shapes"]) == len(TRUTH)
    assert (
        "where the cause lies. Outlined: the planted circuit (solid: to raise, dotted: to lower). Circuit precision"
        in html
    )


def test_the_grid_shows_every_cell_on_dev_and_the_picked_one(page: Page) -> None:
    first, second = (page.figures[f"grid-mascing-{span}-target"] for span in ("question", "question-prompt"))
    z = second["data"][0]["z"]
    assert [len(row) for row in z] == [8, 8, 8, 8]
    assert z[0][0] == pytest.approx(50 + 45 * 32 / 64)
    assert z[3][7] == pytest.approx(50 + 45 * 63 / 64)
    (outline,) = second["layout"]["shapes"]
    assert (outline["x0"], outline["y0"]) == (6.5, 2.5)
    assert first["layout"]["shapes"] == []
    assert len(page.table("Rates on the dev split")) == 1 + 64 + 15 + 6


def test_surrogates_are_shown_for_each_span(page: Page) -> None:
    names = [trace["name"] for trace in page.figures["roc"]["data"]]
    assert names == ["question (AUC 0.970)", "question+prompt (AUC 0.930)"]
    bars, _ = page.figures["auc"]["data"]
    assert bars["y"] == ["surrogate", "turn count", "permuted labels"]
    assert bars["x"] == [pytest.approx(value) for value in (0.47, 0.08, -0.01)]
    assert page.figures["calibration"]["data"][0]["x"] == [10, 90]
    rows = page.table("Surrogates on the dev split")
    assert rows[1] == ["question", "surrogate", "0.970 (0.920 to 0.990)", "–"]
    assert rows[2] == ["question", "turn count", "0.580 (0.480 to 0.680)", "0.580 (0.480 to 0.680)"]
    assert page.at("surrogates").all("p")[1:] == []


def test_the_labels_are_counted_and_their_agreement_with_the_file_is_told(html: str) -> None:
    section = html.split('<section id="labels">')[1].split("</section>")[0]
    text = " ".join(re.sub("<[^>]+>", " ", section).split())
    assert "test, Target 60 50.0" in text.replace("target", "Target")
    assert "17 in 9 groups 17 in 8 groups 17 30 12" in text
    assert "kappa 0.31, 95% interval 0.20 to 0.42" in text
    assert "Replies to" not in text  # the replies before and after are shown instead


def test_provenance_names_model_data_stages_seed_and_versions(page: Page) -> None:
    run = dict(page.table("Run")[1:])
    assert run["Checkpoint"] == "c" * 64
    assert run["Config and router weights"] == "f" * 64
    assert run["Seed"] == "0"
    assert run["Routers"] == "olmoe: 4 MoE layers of 16 experts, 2 per token, softmax"
    assert ["evaluate", "3.5", "900", "0", "5", "evaluate/jailbreak-defence-0123456789abcdef"] in page.table("Stages")
    assert ["torch", "2.13.0"] in page.table("Versions")
    assert page.table("Conversations by split and set") == [
        ["Split", "Target", "Utility: benign", "Protected: forbidden"],
        ["dev", "40", "20", "16"],
        ["test", "60", "60", "60"],
    ]
    assert page.table("Classes matched on form and topic")[1:] == [["dev", "18", "22", "17", "6"]]
    assert ["blank", "1"] in page.table("Quarantined conversations")
    assert [row[0] for row in page.table("Masks")[1:]] == ["mascing", "steermoe", "gradient", "random"]
    assert "min_uplift: 0.1" in page.at("provenance").text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "two"):
        storage = Storage.open(str(tmp_path / name))
        write_run(storage)
        os.utime(storage.locate(FOLDER.result), (0, 0))
        pages.append(Path(build_report(storage)).read_text(encoding="utf-8"))
    assert pages[0] == pages[1]


def test_the_page_needs_no_server_to_know_its_files() -> None:
    for name in ("page.html.jinja", "parts.html.jinja", "page.css", "plots.js", "samples.js"):
        assert (files(mascing.report) / name).is_file()
    assert HITS.keys() >= {"baseline", "random"}


def test_masks_that_pass_are_shown_under_each_changed_condition(page: Page, result: Result) -> None:
    section = page.at("robustness")
    spec = page.figures["uplift-conditions"]
    passing = [name for name, method in result.methods.items() if method.gate == "pass" and name != "random"]
    assert {trace["name"] for trace in spec["data"]} == set(passing)
    [trace] = [trace for trace in spec["data"] if trace["name"] == "gradient"]
    assert trace["y"] == ["as it is", "system prompt", "temperature 0.7"]
    uplift = result.methods["gradient"].uplift
    assert trace["x"][0] == pytest.approx(100 * uplift.value)
    assert trace["error_x"]["arrayminus"][1] == pytest.approx(100 * (uplift.value - uplift.low))
    assert "Not judged: paraphrase, because no conversation of target has a paraphrase" in section.words()


def test_every_method_is_tested_against_baseline_and_control(page: Page) -> None:
    rows = page.table("Target rate against the unsteered model and the random control")
    assert rows[0][-3:] == ["Target, points", "p", "Holm-adjusted p"]
    assert {(row[0], row[1]) for row in rows[1:]} == {
        *((method, "baseline") for method in ("mascing", "steermoe", "gradient", "random")),
        *((method, "random") for method in ("mascing", "steermoe", "gradient")),
    }
    assert next(row for row in rows if row[:2] == ["gradient", "random"])[-1] == "< 0.0001"


def test_seeds_behind_the_best_are_hollow_dots(page: Page) -> None:
    [mascing, gradient] = page.figures["seeds-target"]["data"]
    assert mascing["x"] == pytest.approx([90, 50, 86, 55, 50])
    assert mascing["marker"]["symbol"] == ["circle", "circle-open", "circle", "circle-open", "circle-open"]
    assert set(gradient["marker"]["symbol"]) == {"diamond"}
    assert len(set(gradient["y"])) == 5
    assert [row[:4] for row in page.table("The best cell of each search seed on dev")[1:3]] == [
        ["mascing", "0", "90.0%", "the best"],
        ["mascing", "1", "50.0%", "−40.0 (−48.0 to −32.0)"],
    ]


def test_columns_without_a_value_are_left_out(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    write_run(storage, truth=False, methods=["gradient"])
    page = Page(Path(build_report(storage)).read_text(encoding="utf-8"))
    head, *rows = page.table("Test split: percent and percentage points, with 95% intervals")
    assert "Circuit precision" not in head
    assert "Gate" in head
    assert {len(row) for row in rows} == {len(head)}
