"""The audit end to end on the testbed: the rate falls with the ranked experts, and no reply is stored."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from mascing.flows.audit_line import audit
from mascing.progress import shown
from mascing.runs.finished_run import read_audit
from mascing.runs.run_folder import RunFolder, find_run, stored_runs
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.config import AuditConfig, RunConfig
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import SEAL
from mascing.testbeds.planted.language import REFUSAL
from tests.small_run import small_config
from tests.tasks.here_pool import HerePool

pytestmark = pytest.mark.usefixtures("prefect_here")


@pytest.fixture(scope="module")
def config(testbed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    small = small_config(testbed_folder, tmp_path_factory.mktemp("conversations"), workers=1)
    settings = AuditConfig(n_suppressed=(1, 16), random_draws=3)
    return small.model_copy(update={"audit": settings})


@pytest.fixture(scope="module")
def storage(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """The storage after an audit; its progress output is discarded."""
    storage = Storage.open(str(tmp_path_factory.mktemp("audit")))
    with shown(Console(file=io.StringIO())):
        audit(config, storage.url)
    return storage


@pytest.fixture(scope="module")
def measured(storage: Storage) -> Audit:
    return read_audit(storage, find_run(storage).folder)


def test_the_rate_falls_with_the_ranked_experts_and_not_with_random_ones(measured: Audit) -> None:
    before, last = measured.baseline[measured.set], measured.points[-1]
    assert before.low > 0.3
    assert last.rates[measured.set].high < before.low
    assert last.changes[measured.set].high < -0.1
    at_random = sum(rate.value for rate in last.random) / len(last.random)
    assert at_random > last.rates[measured.set].high


def test_every_number_of_experts_is_judged_on_the_test_split_with_as_many_random_draws(
    measured: Audit, config: RunConfig
) -> None:
    assert [point.n for point in measured.points] == [1, 16]
    assert measured.experts == 64
    for point in measured.points:
        assert len(point.random) == 3
        assert point.rates.keys() == measured.baseline.keys() == {"target", "utility/benign", "protected/prohibited"}
        assert {rate.n for rate in (*point.random, point.rates[measured.set])} == {measured.baseline[measured.set].n}


def test_no_reply_no_mask_and_no_ranking_is_kept(storage: Storage, config: RunConfig) -> None:
    stored = {path: storage.read(path) for path in storage.list()}
    assert {path.split("/")[0] for path in stored} == {
        "prepare", "label", "replies", "verdicts", "harvest", "traces", "audit", "runs", "index.html",
    }  # fmt: skip
    audited = {path: data for path, data in stored.items() if path.startswith(("audit", "runs", "index"))}
    names = {path.rpartition("/")[2] for path in audited}
    rates = {name for name in names if name.startswith("rates-")}
    assert names - rates == {"manifest.json", "index.html", "audit.json", "run.yaml"}
    assert len(rates) == 2 * (1 + 3)
    # Every reply of the model on this set is a refusal or an answer. Those of the unsteered model are in `label` and
    # `replies`, as input some are in `prepare`; those of the suppressed model are nowhere.
    replies = [REFUSAL, *(line["unwanted"] for line in _lines(config) if line.get("unwanted")), "begins with"]
    assert not [path for path, data in audited.items() if any(text.encode() in data for text in replies)]
    assert not [path for path, data in stored.items() if path.startswith("harvest") and REFUSAL.encode() in data]
    numbers = json.loads(audited[find_run(storage).folder.audit])
    assert numbers.keys() == {*Audit.model_fields, SEAL}
    assert not [path for path in stored if path.endswith(".safetensors")]


def _lines(config: RunConfig) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(str(config.behaviour.conversations)).read_text().splitlines()]


def test_the_page_shows_the_curve_and_loads_nothing(storage: Storage, measured: Audit) -> None:
    html = storage.read(find_run(storage).folder.page).decode()
    figure = json.loads(html.split('<script type="application/json">')[1].split("</script>")[0])
    curve = figure["data"][-1]
    assert curve["x"] == ["0", "1", "16"]
    last = measured.points[-1].rates[measured.set]
    assert curve["y"][-1] == pytest.approx(100 * last.value)
    assert f"{100 * last.value:.1f}% [{100 * last.low:.1f}, {100 * last.high:.1f}] with 16 of 64 experts off" in html
    assert "default-src 'none'" in html


def test_experts_ranked_by_what_goes_along_with_the_behaviour_lower_it_too(
    config: RunConfig, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mascing.flows.audit_line.Pool", lambda *_: HerePool())
    settings = AuditConfig(ranking="risk_difference", n_suppressed=(16,), random_draws=2)
    copy = Storage.open(str(shutil.copytree(storage.locate(""), tmp_path / "copy")))
    with shown(Console(file=io.StringIO())):
        folder = RunFolder(audit(config.model_copy(update={"audit": settings}), copy.url))
    measured = read_audit(copy, folder)
    assert [stored.folder for stored in stored_runs(copy)] == [folder, find_run(storage).folder]
    assert measured.ranking == "risk_difference"
    assert measured.points[0].changes[measured.set].high < -0.1
