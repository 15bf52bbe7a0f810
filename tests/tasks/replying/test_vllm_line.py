"""Stages whose engine is vLLM leave what transformers leaves; this needs the environment of vLLM."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mascing.runs.files import DEV_VERDICTS
from mascing.runs.readers import traces_of, unsteered_table
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import RunConfig, SelectionConfig
from mascing.schemas.settings.engine_settings import VllmEngine
from mascing.schemas.settings.method_settings import SteerMoEConfig
from mascing.storage import parquet
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.collecting.collect import collect
from mascing.tasks.collecting.take_in import intake
from mascing.tasks.evaluate import evaluate
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.selecting import select
from mascing.tasks.train import train
from mascing.traces.shards import decode
from tests.mascing import olmoe_folder
from tests.tasks.contrast.test_labelling import chats, config_for
from tests.tasks.here_pool import HerePool

pytest.importorskip("vllm", reason="it has an environment of its own")

OPTIONS = VllmEngine(max_num_seqs=16, kv_cache_memory_bytes=64 << 20)


class CountingPool(HerePool):
    """Counts the items of the workers."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[str] = []

    def result(self, function: Any, shared: Any, item: Any) -> Any:
        self.items.append(type(item).__name__)
        return super().result(function, shared, item)


def line(storage: Storage, config: RunConfig, pool: CountingPool) -> dict[str, pa.Table]:
    """The verdicts of label, select and evaluate, and the traces of harvest."""
    labelled = label(storage, config, prepare(storage, config).manifest, pool=pool).manifest
    harvested = harvest(storage, config, labelled, pool=pool).manifest
    if config.engine.kind == "vllm":
        assert pool.worker._model is None, "replies and traces need no model of transformers"
    trained = train(storage, config, labelled, harvested, pool=pool).manifest
    optimised = optimise(storage, config, labelled, harvested, trained, pool=pool).manifest
    pool.items.clear()
    selected = select(storage, config, labelled, harvested, optimised, pool=pool).manifest
    if config.engine.kind == "vllm":
        assert sum(optimised.facts.candidates.values()) == 4
        assert pool.items[0] == "_Several", "all masks of the round are one item"
    evaluated = evaluate(storage, config, labelled, selected, pool=pool).manifest
    tables = {name: read_shard(storage, evaluated, name) for name in (shard.name for shard in evaluated.shards)}
    tables[DEV_VERDICTS] = read_shard(storage, selected, DEV_VERDICTS)
    made = {name: parquet.table_of(data) for name, data in tables.items()}
    made["unsteered"] = pa.concat_tables(unsteered_table(storage, labelled, "train").parts())
    [traces] = traces_of(storage, harvested, "train").parts()
    made["selected"] = pa.table({"ids": traces.selected.sort(-1).values.flatten().tolist()})
    return made


def test_a_collection_by_vllm_holds_what_transformers_selects(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"id": "row-{row}", "prompt": "What about {row}?"}}\n' for row in range(40)))
    model = {"path": str(olmoe_folder.save(tmp_path / "model", hidden_size=64)), "dtype": "float32"}
    plain = CollectionConfig.model_validate({"model": model, "conversations": str(prompts)})
    storage = Storage.open(str(tmp_path / "data"))
    taken = intake(storage, plain).manifest
    both = [
        collect(storage, config, taken, pool=HerePool()).manifest
        for config in (plain, plain.model_copy(update={"engine": OPTIONS}))
    ]
    assert both[0].prefix != both[1].prefix
    theirs, ours = (
        decode([read_shard(storage, manifest, shard.name) for shard in manifest.shards if shard.path is not None])
        for manifest in both
    )
    assert (ours.ids, ours.selected.sort(-1).values.tolist()) == (theirs.ids, theirs.selected.sort(-1).values.tolist())
    assert len(ours.ids) == 40


def test_a_line_on_vllm_leaves_the_verdicts_and_traces_of_transformers(tmp_path: Path) -> None:
    model = olmoe_folder.save(tmp_path / "model", hidden_size=64)
    plain = config_for(model, tmp_path, chats(), selection=SelectionConfig(mode="full", sparsify=False))
    methods = plain.methods.model_copy(update={"steermoe": SteerMoEConfig(n_activated=(1, 2), n_deactivated=(1, 2))})
    plain = plain.model_copy(update={"methods": methods})
    theirs = line(Storage.open(str(tmp_path / "a")), plain, CountingPool())
    ours = line(Storage.open(str(tmp_path / "b")), plain.model_copy(update={"engine": OPTIONS}), CountingPool())
    assert ours.keys() == theirs.keys()
    for name, table in theirs.items():
        assert ours[name].to_pylist() == table.to_pylist(), name
