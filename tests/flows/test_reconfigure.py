"""The line end to end on a small run: its outputs, what a second run repeats, what is retried.

Model, truth and storage are in an S3 bucket; the conversations are a local file.
"""

import io
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from prefect.artifacts import Artifact
from rich.console import Console

from mascing.errors import ConflictError, DataError, ModelError, StorageError
from mascing.flows.reconfigure import reconfigure
from mascing.flows.stage_tasks import stage_task
from mascing.masks.mask import Mask
from mascing.masks.unproven import why_unproven
from mascing.progress import shown
from mascing.runs.finished_run import read_result, stages_at
from mascing.runs.mask_address import mask_url
from mascing.runs.registry import channels
from mascing.runs.run_folder import RunFolder, find_run, stored_runs
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.config import ModelConfig, RunConfig
from mascing.schemas.finished import Prepared
from mascing.schemas.result import HeldChannel, Result
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import SEAL
from mascing.tasks.running.stage import Body, Finished, Recipe, run_stage
from tests.mascing.report.page_parts import Page
from tests.mascing.storage.noted_stage import Noted, NotedFacts
from tests.small_run import BEHAVIOUR, small_config
from tests.tasks.here_pool import HerePool

STAGES = ["prepare", "label", "harvest", "train", "optimise", "select", "evaluate", "robustness", "gate", "publish"]


pytestmark = pytest.mark.usefixtures("prefect_here")


@pytest.fixture(scope="module")
def config(testbed_folder: Path, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    small = small_config(testbed_folder, tmp_path_factory.mktemp("conversations"))
    uploaded = Storage.open(f"{s3_url}/models")
    for path in testbed_folder.iterdir():
        uploaded.create(f"tiny-olmoe/{path.name}", path.read_bytes())
    truth = uploaded.locate(f"tiny-olmoe/truth-{BEHAVIOUR}.safetensors")
    return small.model_copy(
        update={
            "model": small.model.model_copy(update={"path": uploaded.locate("tiny-olmoe")}),
            "behaviour": small.behaviour.model_copy(update={"truth": truth}),
        }
    )


@pytest.fixture(scope="module")
def first(config: RunConfig, s3_url: str) -> tuple[Storage, str]:
    """The storage after a run, and the run's progress output."""
    storage = Storage.open(f"{s3_url}/line")
    return storage, run(config, storage)


@pytest.fixture
def worker_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process, for runs after the first, which has workers of Ray."""
    monkeypatch.setattr("mascing.flows.reconfigure.Pool", lambda *_: HerePool())


def run(config: RunConfig, storage: Storage) -> str:
    output = io.StringIO()
    with shown(Console(file=output)):
        assert reconfigure(config, storage.url) == find_run(storage).folder.name
    return output.getvalue()


def result_of(storage: Storage) -> Result:
    """The result of the run that finished last."""
    return read_result(storage, find_run(storage).folder)


def test_every_stage_is_done_and_said_to_be(first: tuple[Storage, str]) -> None:
    _, output = first
    assert [line.split(":")[0] for line in output.splitlines() if ": done in" in line] == STAGES
    assert output.splitlines()[-1] == "report: written"


def test_the_result_names_every_method_and_counts_every_conversation(
    first: tuple[Storage, str], config: RunConfig
) -> None:
    result = result_of(first[0])
    lines = Path(str(config.behaviour.conversations)).read_text().splitlines()
    assert result.splits.train + result.splits.dev + result.splits.test == len(lines)
    assert list(result.methods) == ["mascing", "consensus", "steermoe", "gradient", "refined", "active", "random"]
    assert set(result.timings) == set(STAGES)
    judged = [result.baseline.target_rate, *result.baseline.utility.values(), *result.baseline.protected.values()]
    assert sum(rate.n for rate in judged) == result.splits.test
    assert all(method.circuit_precision is not None for method in result.methods.values())


def test_the_run_leaves_what_the_report_reads(first: tuple[Storage, str], config: RunConfig) -> None:
    storage, _ = first
    folder = find_run(storage).folder
    inputs = json.loads(storage.read(folder.inputs))
    assert RunConfig.model_validate(inputs["run_config"]) == config
    assert list(inputs["stages"]) == [*STAGES, "masks"]
    stages = stages_at(storage, inputs["stages"])
    assert {stage: manifest.prefix for stage, manifest in stages.by_name.items()} == inputs["stages"]
    assert storage.read(folder.page).lstrip().startswith(b"<!doctype html>")
    assert RunConfig.model_validate(yaml.safe_load(storage.read(folder.config))) == config
    assert {path for path in storage.list() if "/" not in path} == {"index.html"}


def test_the_winner_is_published_with_its_card(first: tuple[Storage, str]) -> None:
    storage, _ = first
    result = result_of(storage)
    assert result.published is not None
    [channel] = channels(storage)
    assert (channel.checkpoint, channel.mask) == (result.checkpoint, result.mask)
    assert result.channel == HeldChannel(address=channel.address, mask=channel.mask)
    mask = Mask.from_bytes(storage.read(f"{channel.mask}/mask.safetensors"))
    card = MaskCard.model_validate_json(storage.read(f"{channel.mask}/card.json"))
    assert card.mask_digest == mask.digest
    assert card.method == result.published
    assert card.result == result.methods[result.published]
    assert list(card.robustness) == ["paraphrase", "temperature 0.7"]
    assert any(reason.startswith("paraphrase passes") for reason in card.result.reasons)
    assert card.labels is not None
    assert card.labels.low > 0.2


def test_a_second_run_does_no_work_and_says_so(first: tuple[Storage, str], config: RunConfig) -> None:
    storage, _ = first
    folder = find_run(storage).folder
    before, objects = json.loads(storage.read(folder.result)), storage.list()
    output = run(config, storage)
    assert output.splitlines() == [
        *(f"{stage}: already done" for stage in STAGES),
        "report: started",
        "report: written",
    ]
    after = json.loads(storage.read(folder.result))
    differing: dict[str, None] = {"timings": None, SEAL: None}
    assert {**before, **differing} == {**after, **differing}
    assert storage.list() == objects


@pytest.mark.usefixtures("worker_here")
def test_a_change_repeats_only_what_depends_on_it(first: tuple[Storage, str], config: RunConfig) -> None:
    storage, _ = first
    without_truth = config.model_copy(update={"behaviour": config.behaviour.model_copy(update={"truth": None})})
    output = run(without_truth, storage)
    assert [line.split(":")[0] for line in output.splitlines() if "already done" in line] == STAGES[:-2]
    results = [read_result(storage, stored.folder) for stored in stored_runs(storage)]
    assert sorted(all(m.circuit_precision is None for m in result.methods.values()) for result in results) == [
        False,
        True,
    ]


@pytest.mark.usefixtures("worker_here")
def test_a_run_that_was_done_already_moves_the_channel_back_and_says_so(
    first: tuple[Storage, str], config: RunConfig
) -> None:
    """A, B, A: another limit gives the same mask another card."""
    storage = first[0]
    robustness = config.robustness.model_copy(update={"uplift_share": 0.4})
    a = run_mask(config, storage)
    b = run_mask(config.model_copy(update={"robustness": robustness}), storage)
    assert a != b
    before = channels(storage)[0].history
    output = run(config, storage)
    [channel] = channels(storage)
    assert (channel.mask, channel.history) == (a, (*before, b))
    assert f"publish: {channel.address} moved from {b} to {a}" in output.splitlines()
    index = storage.read("index.html").decode()
    assert all(stored.folder.page in index for stored in stored_runs(storage))


@pytest.mark.usefixtures("worker_here")
def test_a_run_in_which_nothing_passes_says_what_would_change_that_and_keeps_its_strongest_mask(
    first: tuple[Storage, str], config: RunConfig
) -> None:
    storage = first[0]
    held = [channel.mask for channel in channels(storage)]
    gates = config.gates.model_copy(update={"min_uplift": 1.0})
    strict = config.model_copy(update={"gates": gates, "allow_unpublishable": True})
    run(strict, storage)
    result = result_of(storage)
    assert result.published is None
    assert set(result.remedies) == set(result.methods) - {"random"}
    assert all(any(remedy.gate == "target" for remedy in remedies) for remedies in result.remedies.values())
    assert result.unproven is not None
    assert result.unproven.method == result.first_on_dev
    mask = Mask.load(mask_url(find_run(storage).folder.prefix, storage.url))
    assert why_unproven(mask) is not None
    assert mask.provenance["method"] == result.first_on_dev
    assert [channel.mask for channel in channels(storage)] == held
    page = Page(storage.read(find_run(storage).folder.page).decode())
    sentence = result.remedies[result.unproven.method][0].sentence
    assert sentence.replace("`", "") in page.at("gates").words()


def run_mask(config: RunConfig, storage: Storage) -> str:
    """The mask that a run published and its channel then holds."""
    folder = RunFolder(reconfigure(config, storage.url))
    result = read_result(storage, folder)
    assert result.mask is not None
    assert result.channel is not None
    assert result.channel.mask == result.mask
    return result.mask


def test_prefect_shows_the_results(first: tuple[Storage, str]) -> None:
    for stored in stored_runs(first[0]):
        assert "| baseline |" in artifact(f"results-{stored.folder.name}")
        assert f"/line/{stored.folder.page}" in artifact(f"report-{stored.folder.name}")


def artifact(key: str) -> str:
    stored = Artifact.get(key)
    assert stored is not None
    assert not isinstance(stored, Coroutine)
    return str(stored.data)


def test_a_model_that_cannot_be_read_ends_the_run_before_any_work(config: RunConfig, tmp_path: Path) -> None:
    broken = config.model_copy(update={"model": config.model.model_copy(update={"path": str(tmp_path / "nowhere")})})
    storage = Storage.open(str(tmp_path / "storage"))
    with pytest.raises(ModelError, match="does not exist"):
        run(broken, storage)
    assert storage.list() == []


def test_every_stage_is_given_the_commit_that_a_revision_meant_at_the_start(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "c" * 40
    cached = tmp_path / "models--someone--tiny"
    (cached / "snapshots" / commit).mkdir(parents=True)
    (cached / "snapshots" / commit / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    revisions = []

    def prepare(storage: Storage, config: RunConfig) -> Finished[Prepared]:
        revisions.append(config.model.revision)
        raise DataError("enough seen")

    monkeypatch.setattr("mascing.flows.order.prepare", prepare)
    hub = config.model_copy(update={"model": ModelConfig(path="someone/tiny")})
    with pytest.raises(DataError, match="enough seen"):
        reconfigure(hub, str(tmp_path / "storage"))
    assert revisions == [commit]


def calls_of(config: RunConfig, storage: Storage, error: Exception, times: int) -> int:
    """The number of calls of a stage that raises ``error`` in its first ``times`` calls."""
    calls = []

    def troubled(storage: Storage, config: RunConfig) -> Finished[Noted]:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return run_stage(storage, Recipe(Noted, "x", {}), lambda _: Body([], NotedFacts(), rows_in=0))

    task: Any = stage_task(troubled)
    step = task.with_options(retry_delay_seconds=0)
    try:
        step(storage.url, config)
    except type(error):
        assert times >= len(calls)
    return len(calls)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (StorageError("the bucket did not answer"), 3),
        (ConflictError("other content is there"), 1),
        (DataError("no usable row"), 1),
        (ValueError("a defect of ours"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_storage_is_given_another_chance(config: RunConfig, tmp_path: Path, error: Exception, calls: int) -> None:
    assert calls_of(config, Storage.open(str(tmp_path)), error, times=2) == calls
