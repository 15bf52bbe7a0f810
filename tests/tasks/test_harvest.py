from pathlib import Path
from typing import Any

import pytest

from mascing.errors import DataError
from mascing.schemas.config import BehaviourConfig, HarvestConfig, ModelConfig, RunConfig
from mascing.schemas.finished import Harvested
from mascing.schemas.settings.judge_settings import RefusalJudge
from mascing.schemas.settings.method_settings import MascingConfig, MethodsConfig, SteerMoEConfig
from mascing.storage import parquet
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from mascing.traces import batch_recording
from mascing.traces.shards import decode
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

QUESTION = MethodsConfig(mascing=MascingConfig(spans=("question",)), consensus=None, steermoe=None)


EVERY = "every conversation"


def config_for(folder: Path, methods: MethodsConfig) -> RunConfig:
    """A run on a tiny model and labelled conversations without replies."""
    chats = [
        olmoe_folder.conversation(f"c{number}", "a question", label="negative" if number % 2 else "positive")
        for number in range(24)
    ]
    (folder / "c.jsonl").write_text("".join(chat.model_dump_json() + "\n" for chat in chats))
    judge = RefusalJudge(phrases=("no",))
    return RunConfig(
        model=ModelConfig(path=str(olmoe_folder.save(folder / "model"))),
        behaviour=BehaviourConfig(
            name="b",
            conversations=str(folder / "c.jsonl"),
            target=judge,
            utility=judge,
            protected=judge,
            matching=None,
        ),
        methods=methods,
    )


class Recorder:
    """Counts the conversations that the model reads, and fails on the one named ``poison``, or on ``EVERY``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, poison: str = "no such text") -> None:
        self.rows = 0
        self.poison = poison
        self._record = batch_recording.record_prompts
        monkeypatch.setattr(batch_recording, "record_prompts", self)

    def __call__(self, model: Any, prompts: Any, *options: Any) -> Any:
        if self.poison == EVERY or any(prompt.conversation_id == self.poison for prompt in prompts):
            raise RuntimeError("index out of range in self")
        self.rows += len(prompts)
        return self._record(model, prompts, *options)


def harvested(storage: Storage, config: RunConfig) -> Harvested:
    pool = HerePool()
    labelled = label(storage, config, prepare(storage, config).manifest, pool=pool).manifest
    return harvest(storage, config, labelled, pool=pool).manifest


def recorded(storage: Storage, manifest: Harvested) -> list[str]:
    """The ids of the recorded conversations."""
    names = [shard.name for shard in manifest.shards if shard.name.startswith("traces")]
    return decode([read_shard(storage, manifest, name) for name in names]).ids


def without(config: RunConfig, name: str) -> None:
    """Remove a row from the file of conversations."""
    path = Path(str(config.behaviour.conversations))
    path.write_text("".join(line for line in path.read_text().splitlines(True) if f'"{name}"' not in line))


def test_the_span_of_replies_holds_what_the_model_said_although_the_file_brings_no_replies(tmp_path: Path) -> None:
    methods = MethodsConfig(mascing=None, steermoe=SteerMoEConfig(spans=("reply",)))
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, methods)
    manifest = harvested(storage, config)
    shards = [shard.name for shard in manifest.shards if shard.name.startswith("traces-train")]
    traces = decode([read_shard(storage, manifest, name) for name in shards])
    assert len(traces.span("reply").ids) == len(traces.ids) > 0


def test_a_removed_row_records_its_own_piece_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, QUESTION)
    config = config.model_copy(update={"harvest": HarvestConfig(rows_per_shard=4)})
    recorder = Recorder(monkeypatch)
    before = harvested(storage, config)
    assert recorder.rows == before.rows_out
    without(config, recorded(storage, before)[3])
    recorder.rows = 0
    after = harvested(storage, config)
    assert after.rows_out == before.rows_out - 1
    assert 0 <= recorder.rows <= 8
    kept = {shard.path for shard in after.shards} & {shard.path for shard in before.shards}
    assert len(kept) >= len(before.shards) - 2
    for shard in after.shards:
        assert read_shard(storage, after, shard.name)


def test_after_a_refusal_the_rows_that_failed_are_tried_again_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, QUESTION)
    config = config.model_copy(update={"harvest": HarvestConfig(rows_per_shard=4)})
    undisturbed = Storage.open(str(tmp_path / "undisturbed"))
    whole = harvested(undisturbed, config)
    recorder = Recorder(monkeypatch, recorded(undisturbed, whole)[0])
    for _ in range(2):
        with pytest.raises(DataError, match=r"harvest: 1 of .*max_quarantined"):
            harvested(storage, config)
    recorder.rows, recorder.poison = 0, "nothing: the machine is mended"
    manifest = harvested(storage, config)
    assert recorder.rows == 1
    assert recorded(storage, manifest) == recorded(undisturbed, whole)
    untouched = {shard.sha256 for shard in whole.shards} & {shard.sha256 for shard in manifest.shards}
    assert len(untouched) >= len(whole.shards) - 1


def test_a_harvest_of_which_nothing_could_be_recorded_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, QUESTION)
    recorder = Recorder(monkeypatch, EVERY)
    with pytest.raises(DataError, match="no conversation of the train split can be recorded"):
        harvested(storage, config.model_copy(update={"max_quarantined": 1}))
    recorder.poison = "nothing: the machine is mended"
    assert harvested(storage, config).rows_quarantined == 0


def test_rows_that_another_harvest_has_accepted_as_failed_stay_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, QUESTION)
    config = config.model_copy(update={"harvest": HarvestConfig(rows_per_shard=4)})
    ids = recorded(storage, harvested(storage, config))
    storage = Storage.open(str(tmp_path / "other"))
    recorder = Recorder(monkeypatch, ids[0])
    accepted = harvested(storage, config.model_copy(update={"max_quarantined": 0.5}))
    assert accepted.facts.quarantined == (ids[0],)
    recorder.rows = 0
    with pytest.raises(DataError, match=r"harvest: 1 of .*max_quarantined"):
        harvested(storage, config)  # the same stage, with a smaller share
    without(config, ids[-1])
    with pytest.raises(DataError, match=r"harvest: 1 of .*max_quarantined"):
        harvested(storage, config)  # another stage, which shares the piece
    assert recorder.rows <= 8
    for shard in accepted.shards:
        assert read_shard(storage, accepted, shard.name)


def test_a_row_that_the_model_fails_on_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, QUESTION)
    poison = recorded(storage, harvested(storage, config))[0]
    storage = Storage.open(str(tmp_path / "other"))
    Recorder(monkeypatch, poison)
    with pytest.raises(DataError, match=r"harvest: 1 of .*max_quarantined.*index out of range in self"):
        harvested(storage, config)
    manifest = harvested(storage, config.model_copy(update={"max_quarantined": 0.5}))
    assert manifest.facts.quarantined == (poison,)
    [row] = parquet.from_bytes(read_shard(storage, manifest, "quarantine.parquet")).to_pylist()
    assert (row["id"], row["reason"]) == (poison, "RuntimeError: index out of range in self")
