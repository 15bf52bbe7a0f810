"""A collection: every conversation is recorded once or set aside, and what is stored is not recorded again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich import filesize

import mascing
from mascing.conversations.chat import render
from mascing.errors import DataError
from mascing.progress import forwarded
from mascing.report.wording import duration
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import ComputeConfig
from mascing.schemas.finished import Collected
from mascing.storage import parquet
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.collecting.collect import collect
from mascing.tasks.collecting.take_in import intake
from mascing.tasks.workers.tally import current
from mascing.traces import batch_recording
from mascing.traces.shard_files import ShardFile
from mascing.traces.shards import decode
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

ROWS = 100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return olmoe_folder.save(tmp_path_factory.mktemp("model"))


def write(folder: Path, rows: int = ROWS) -> Path:
    """Prompts of which one has no text and one comes twice."""
    lines = [{"id": f"row-{number}", "user": f"What about {number}?" if number != 5 else ""} for number in range(rows)]
    path = folder / "prompts.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, lines[0]]))
    return path


def config_of(path: Path, model: Path, **changes: Any) -> CollectionConfig:
    return CollectionConfig.model_validate(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "conversations": str(path),
            "columns": {"user": "user"},
            "harvest": {"rows_per_shard": 16},
            **changes,
        }
    )


def collected(storage: Storage, config: CollectionConfig, pool: HerePool) -> Collected:
    taken = intake(storage, config).manifest
    return collect(storage, config, taken, pool=pool).manifest


class CountingPool(HerePool):
    """Counts the prompts that its worker records."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.worker.count = self._count  # type: ignore[method-assign]

    def _count(self, name: str, number: int) -> None:
        self.tokens += number if name == "tokens" else 0


def test_every_conversation_is_recorded_once_without_a_label(tmp_path: Path, model: Path) -> None:
    storage, pool = Storage.open(str(tmp_path / "data")), CountingPool()
    manifest = collected(storage, config_of(write(tmp_path), model), pool)
    shards = [shard for shard in manifest.shards if shard.path is not None]
    traces = decode([read_shard(storage, manifest, shard.name) for shard in shards])
    assert sorted(traces.ids) == sorted(f"row-{number}" for number in range(ROWS) if number != 5)
    assert set(traces.labels.tolist()) == {-1}
    assert (manifest.facts.samples, manifest.facts.tokens) == (ROWS - 1, len(traces.z))
    rows = [olmoe_folder.conversation(name, f"What about {name.removeprefix('row-')}?") for name in traces.ids]
    assert pool.tokens == sum(len(render(olmoe_folder.tokenizer(), row).token_ids) for row in rows)
    assert manifest.facts.sigma == pytest.approx(tuple(traces.sigma().tolist()), rel=1e-5)


def test_further_conversations_are_recorded_alone(tmp_path: Path, model: Path) -> None:
    storage = Storage.open(str(tmp_path / "data"))
    first, second = CountingPool(), CountingPool()
    collected(storage, config_of(write(tmp_path), model), first)
    manifest = collected(storage, config_of(write(tmp_path, 2 * ROWS), model), second)
    assert manifest.facts.samples == 2 * ROWS - 1
    assert 0 < second.tokens < 1.5 * first.tokens


def test_counts_alone_keep_no_logits_and_no_ids(tmp_path: Path, model: Path) -> None:
    storage = Storage.open(str(tmp_path / "data"))
    chosen = {"keep": "counts", "layers": [1], "spans": ["question"]}
    manifest = collected(storage, config_of(write(tmp_path), model, chosen=chosen), HerePool())
    [shard, *_] = [shard for shard in manifest.shards if shard.path is not None]
    file = ShardFile(read_shard(storage, manifest, shard.name), shard.name)
    assert (file.layout.layers, file.layout.spans, file.layout.keeps) == ((1,), ("question",), "counts")
    assert file.statistics.selected_CSLE.sum() == file.statistics.tokens * file.layout.top_k
    assert manifest.facts.sigma == ()


def test_a_spent_budget_stops_the_collection_and_keeps_what_is_stored(tmp_path: Path, model: Path) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_of(write(tmp_path), model)
    lines: list[str] = []
    with forwarded(lines.append), pytest.raises(DataError, match=r"than the budget of 60,000: raise it, or keep fewer"):
        collected(storage, config.model_copy(update={"max_bytes": 60_000}), HerePool())
    [told, *_] = [line for line in lines if "of traces in all" in line]
    assert told.endswith("; that is more than the budget of 60.0 kB, at which the collection will stop")
    assert 0 < len(storage.list("traces")) < len(storage.list("intake")) - 2
    assert collected(storage, config, HerePool()).facts.samples == ROWS - 1


class NoPool(HerePool):
    """Must not be started."""

    def queue(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("workers were started")


def test_a_budget_that_is_spent_already_is_refused_before_workers_start(tmp_path: Path, model: Path) -> None:
    storage = Storage.open(str(tmp_path / "data"))
    first = collected(storage, config_of(write(tmp_path), model), HerePool())
    *kept, _ = [shard for shard in first.shards if shard.path is not None]  # the last one ended with its file
    rows, size = sum(shard.rows for shard in kept), sum(shard.bytes for shard in kept)
    with pytest.raises(DataError, match="more than the budget of 1,000") as refused:
        collected(storage, config_of(write(tmp_path, 2 * ROWS), model, max_bytes=1000), NoPool())
    assert f"{size:,} bytes of traces are stored of {rows} of {2 * ROWS - 1} conversations" in str(refused.value)


class SlowPool(HerePool):
    """Says of each item that it took 100 seconds."""

    def result(self, function: Any, shared: Any, item: Any) -> Any:
        done = self.worker.run(function, [None], item, {"stage": "", "run": ""})
        current().add(100.0, done.counts)
        return done.value

    def queue(self, function: Any, shared: Any, items: Any, **options: Any) -> Any:
        self.worker._common = lambda *_: shared  # type: ignore[method-assign]
        return super().queue(function, shared, items, **options)


def test_bytes_and_time_are_foretold_by_what_is_recorded_now(tmp_path: Path, model: Path) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_of(write(tmp_path), model)
    lines: list[str] = []
    with forwarded(lines.append):
        manifest = collected(storage, config.model_copy(update={"compute": ComputeConfig(workers=2)}), SlowPool())
    first = max(shard.rows for shard in manifest.shards if shard.path is not None)  # the longest go first
    left = duration(100 * (ROWS - 1 - first) / first / 2)
    [told, *_] = [line for line in lines if "of traces in all" in line]
    assert told.endswith(f" kB of traces in all, the rest in about {left} with 2 workers, as the first ones go")
    # Whatever is taken from the store takes no time, and says nothing of the pace.
    lines.clear()
    further = config_of(write(tmp_path, 2 * ROWS), model)
    with forwarded(lines.append):
        after = collected(storage, further, SlowPool())
    before = {shard.path for shard in manifest.shards}
    found = [shard for shard in after.shards if shard.path is not None and shard.path in before]
    known = sum(shard.bytes for shard in found) * (2 * ROWS - 1) / sum(shard.rows for shard in found)
    from_store, *later = [line for line in lines if "of traces in all" in line]
    assert from_store.endswith(f"about {filesize.decimal(round(known))} of traces in all, as the first ones go")
    new = [shard for shard in after.shards if shard.path is not None and shard.path not in before]
    assert "the rest in about" in later[0]
    [told] = [line for line in lines if "of work; " in line]
    assert told.startswith(f"collect: {len(new)} pieces of work; {len(found)} more were stored already; ")
    tokens = int(re.search(r"([\d,]+) tokens", told)[1].replace(",", ""))  # type: ignore[index]
    assert f"{tokens / (100 * len(new)):,.0f} a second and worker" in told
    lines.clear()
    with forwarded(lines.append):
        collected(storage, further.model_copy(update={"name": "again"}), SlowPool())
    assert not any("of traces in all" in line for line in lines)


def test_a_conversation_that_the_model_fails_on_is_set_aside_with_its_traceback(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, pool = Storage.open(str(tmp_path / "data")), HerePool()
    record = batch_recording.record_prompts

    def failing(model: Any, prompts: Any, *options: Any) -> Any:
        if any(prompt.conversation_id == "row-7" for prompt in prompts):
            raise IndexError("index out of range in self")
        return record(model, prompts, *options)

    monkeypatch.setattr(batch_recording, "record_prompts", failing)
    manifest = collected(storage, config_of(write(tmp_path), model), pool)
    [row] = parquet.from_bytes(read_shard(storage, manifest, "quarantine.parquet")).to_pylist()
    assert (row["id"], row["reason"]) == ("row-7", "IndexError: index out of range in self")
    assert "in failing" in row["traceback"]
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (ROWS - 1, ROWS - 2, 1)


def test_after_a_refusal_the_conversations_that_failed_are_recorded_and_no_others(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_of(write(tmp_path), model)
    taken, strict = intake(storage, config).manifest, config.model_copy(update={"max_quarantined": 0})
    whole_at = Storage.open(str(tmp_path / "undisturbed"))
    whole = collected(whole_at, config, HerePool())
    record, poison = batch_recording.record_prompts, "row-7"
    read: list[str] = []

    def recording(model: Any, prompts: Any, *options: Any) -> Any:
        if any(prompt.conversation_id == poison for prompt in prompts):
            raise IndexError("index out of range in self")
        read.extend(prompt.conversation_id for prompt in prompts)
        return record(model, prompts, *options)

    monkeypatch.setattr(batch_recording, "record_prompts", recording)
    with pytest.raises(DataError, match=r"collect: 1 of 99 conversations cannot be used"):
        collect(storage, strict, taken, pool=HerePool())
    poison = "nothing: the machine is mended"
    read.clear()
    mended = collect(storage, strict, taken, pool=HerePool()).manifest
    assert read == ["row-7"]
    traces, undisturbed = (
        decode([read_shard(at, manifest, shard.name) for shard in manifest.shards if shard.path])
        for at, manifest in ((storage, mended), (whole_at, whole))
    )
    assert traces.ids == undisturbed.ids
    assert torch.allclose(traces.z.float(), undisturbed.z.float(), atol=1e-2)


@pytest.mark.parametrize("keep", ["logits", "counts"])
def test_what_was_collected_is_opened_by_its_folder(tmp_path: Path, model: Path, keep: str) -> None:
    storage = Storage.open(str(tmp_path / "data"))
    config = config_of(write(tmp_path), model, chosen={"keep": keep, "layers": [0, 2]})
    manifest = collected(storage, config, HerePool())
    traces = mascing.traces(storage.locate(manifest.prefix))
    assert len(traces) == ROWS - 1
    assert traces.statistics().tokens == manifest.facts.tokens
    assert (traces.layout.layers, traces.layout.keeps, traces.layout.checkpoint) == (
        (0, 2),
        keep,
        manifest.facts.checkpoint,
    )
    assert [sample.label for sample in traces] == [None] * (ROWS - 1)
