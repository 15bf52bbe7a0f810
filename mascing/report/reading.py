"""Reading a run from storage: `result.json`, `report/inputs.json`, and the manifests and shards behind them."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from mascing.circuits.gradient.attribution import effect_from_bytes
from mascing.conversations.json_lines import from_table
from mascing.errors import DataError
from mascing.masks.candidates import Candidate, from_bytes
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.report.evidence import Evidence, MaskMap, Reply
from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.schemas.result import Result
from mascing.storage.manifests import read_manifest, read_shard
from mascing.storage.object_storage import Storage

Record = TypeVar("Record", bound=Frozen)
Manifests = Mapping[str, Manifest]


class ReportInputs(Frozen):
    """`report/inputs.json`: the configuration of the run, and the prefix of each stage's manifest."""

    run_config: RunConfig
    stages: dict[str, str]


def read_evidence(storage: Storage) -> Evidence:
    """The evidence of the last run under ``storage``.

    Raises DataError if there is no finished run, or none that this version can read; StorageError if a shard that a
    manifest lists is gone or damaged.
    """
    result = _record(storage, "result.json", Result)
    inputs = _record(storage, "report/inputs.json", ReportInputs)
    manifests = {stage: _manifest(storage, prefix) for stage, prefix in inputs.stages.items()}
    return Evidence(
        result=result,
        config=inputs.run_config,
        manifests=manifests,
        maps=_maps(storage, manifests),
        truth=_truth(storage, manifests, inputs.run_config),
        attribution=_attribution(storage, manifests),
        layer_ids=_facts(manifests, "harvest").get("spec", {}).get("layer_ids", ()),
        conversations=_conversations(storage, manifests),
        replies=_replies(storage, manifests),
        quarantined=_quarantined(storage, manifests),
        card=_card(storage, manifests),
    )


def _record(storage: Storage, path: str, schema: type[Record]) -> Record:
    try:
        data = storage.read(path)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {path} under {storage.url}: make a run there first, with `mascing demo` or `mascing run`"
        ) from error
    try:
        return schema.model_validate_json(data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its first character"
        raise DataError(
            f"{storage.locate(path)} is not what this version of mascing writes (at {where}): "
            "run again with `mascing demo` or `mascing run`"
        ) from error


def _manifest(storage: Storage, prefix: str) -> Manifest:
    try:
        return read_manifest(storage, prefix)
    except FileNotFoundError as error:
        raise DataError(
            f"{storage.locate(prefix)} holds no manifest any more: run again, finished stages are not repeated"
        ) from error


def _facts(manifests: Manifests, stage: str) -> dict[str, Any]:
    return manifests[stage].facts if stage in manifests else {}


def _shard(storage: Storage, manifests: Manifests, stage: str, name: str) -> bytes | None:
    manifest = manifests.get(stage)
    if manifest is None or all(shard.name != name for shard in manifest.shards):
        return None
    return read_shard(storage, manifest, name)


def _rows(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))


def _maps(storage: Storage, manifests: Manifests) -> dict[str, MaskMap]:
    data = _shard(storage, manifests, "select", "selected.safetensors")
    sigma = _facts(manifests, "harvest").get("sigma")
    if data is None or sigma is None:
        return {}
    return {candidate.method: _map(candidate, torch.tensor(sigma)) for candidate in from_bytes(data)}


def _map(candidate: Candidate, sigma_L: torch.Tensor) -> MaskMap:
    mask = candidate.mask
    match mask.rule:
        case BiasRule(bias_LE):
            values_LE = bias_LE / sigma_L[:, None]
        case OverrideRule(signed_LE=signed_LE):
            values_LE = signed_LE
    return MaskMap(candidate.method, mask.rule.name, values_LE.tolist(), mask.entries, mask.digest)


def _attribution(storage: Storage, manifests: Manifests) -> list[list[float]] | None:
    data = _shard(storage, manifests, "optimise", "attribution.safetensors")
    sigma = _facts(manifests, "harvest").get("sigma")
    if data is None or sigma is None:
        return None
    nats: list[list[float]] = (effect_from_bytes(data) * torch.tensor(sigma)[:, None]).tolist()
    return nats


def _truth(storage: Storage, manifests: Manifests, config: RunConfig) -> list[list[float]] | None:
    """The planted circuit: from the testbed stage of a demo, else from the file that the configuration names."""
    behaviour = config.behaviour
    if behaviour.truth is None:
        return None
    data = _shard(storage, manifests, "testbed", f"truth-{behaviour.name}.safetensors")
    if data is None:
        data = _file(behaviour.truth)
    if data is None:
        return None
    try:
        truth: list[list[float]] = load(data)["bias"].tolist()
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{behaviour.truth} holds no tensor `bias` [L, E]: {error}") from error
    return truth


def _file(url: str) -> bytes | None:
    """What a local path or a URL that fsspec knows holds; None where it cannot be read any more."""
    try:
        if "://" not in url:
            return Path(url).expanduser().read_bytes()
        import fsspec

        with fsspec.open(url, "rb") as file:
            data: bytes = file.read()
            return data
    except (OSError, ValueError, ImportError):
        return None


def _conversations(storage: Storage, manifests: Manifests) -> dict[str, Conversation]:
    data = _shard(storage, manifests, "prepare", "conversations-test.parquet")
    return {} if data is None else {conversation.id: conversation for conversation in from_table(_rows(data))}


def _replies(storage: Storage, manifests: Manifests) -> dict[str, dict[str, Reply]]:
    found: dict[str, dict[str, Reply]] = {}
    for shard in manifests["evaluate"].shards if "evaluate" in manifests else ():
        for row in _rows(read_shard(storage, manifests["evaluate"], shard.name)).to_pylist():
            method, text = row.pop("method"), row.pop("reply")
            found.setdefault(method, {})[row["conversation_id"]] = Reply(text=text, **row)
    return found


def _quarantined(storage: Storage, manifests: Manifests) -> dict[str, int]:
    data = _shard(storage, manifests, "prepare", "quarantine.parquet")
    return {} if data is None else dict(Counter(_rows(data).column("reason").to_pylist()))


def _card(storage: Storage, manifests: Manifests) -> dict[str, Any]:
    data = _shard(storage, manifests, "masks", "card.json")
    card: dict[str, Any] = {} if data is None else json.loads(data)
    return card
