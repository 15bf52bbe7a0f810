"""A finished run on disk that holds traces and nothing else: real manifests and shards, made-up numbers."""

import json
from dataclasses import replace

from mascing.runs.run_folder import run_folder
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.facts import HarvestFacts, RouterFacts
from mascing.schemas.finished import Harvested
from mascing.schemas.settings.judge_settings import RefusalJudge
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.traces.shards import encode
from mascing.traces.trace_set import SampleTrace, TraceSet
from tests.mascing.made_traces import SPEC as PLAIN
from tests.mascing.made_traces import traces

SPEC = replace(PLAIN, layer_ids=(1, 2, 4), fingerprint="f" * 64)
"""The first layer of the model and its fourth are dense."""
SHARDS = 3
FOLDER = run_folder("defence", "tiny", "0123456789abcdef")


def write_traces(storage: Storage, samples: int = 30, made: TraceSet | None = None) -> TraceSet:
    """Write a run whose train split has these traces, in several shards, and return them."""
    made = traces(samples) if made is None else made
    stage = StageOutput(storage, Harvested, "defence", "fedcba9876543210")
    each = samples // SHARDS
    shards = [
        stage.put(f"traces-train-{number:05d}.parquet", encode(part, SPEC), len(part))
        for number in range(SHARDS)
        if (part := _samples(made)[number * each : (number + 1) * each])
    ]
    facts = HarvestFacts(
        checkpoint="0" * 64,
        spec=RouterFacts.model_validate(SPEC.to_json()),
        sigma=(1.0, 1.0, 1.0),
        positive=samples // 2,
        negative=samples // 2,
        quarantined=(),
        tokens=len(made.z),
    )
    manifest = stage.commit(shards, facts, rows_in=samples)
    behaviour = BehaviourConfig(
        name="defence",
        conversations="conversations.jsonl",
        target=RefusalJudge(),
        utility=RefusalJudge(),
        protected=RefusalJudge(),
    )
    config = RunConfig(model=ModelConfig(path="tiny"), behaviour=behaviour).model_dump(mode="json")
    stages = {"harvest": manifest.prefix}
    storage.overwrite(FOLDER.inputs, json.dumps({"run_config": config, "stages": stages}).encode())
    storage.overwrite(FOLDER.result, b"{}")
    return made


def _samples(made: TraceSet) -> list[SampleTrace]:
    bounds = made.offsets.tolist()
    return [
        SampleTrace(
            conversation_id=made.ids[number],
            group_id=made.groups[number],
            label=int(made.labels[number]),
            z=made.z[bounds[number] : bounds[number + 1]],
            regions=made.regions[bounds[number] : bounds[number + 1]],
            selected=made.selected[bounds[number] : bounds[number + 1]],
        )
        for number in range(len(made))
    ]
