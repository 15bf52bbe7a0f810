"""Read the outputs of a run's stages as the values that later stages work with.

Shapes: L MoE layer, E expert.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mascing.errors import DataError
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.routers.spec import RouterSpec
from mascing.runs.files import (
    ATTRIBUTION,
    DEV_VERDICTS,
    SELECTED,
    candidates_file,
    condition_file,
    conversations_prefix,
    surrogate_prefix,
    unsteered_prefix,
    verdicts_file,
)
from mascing.runs.stored_conversations import StoredConversations
from mascing.runs.table_parts import StoredTable
from mascing.runs.trace_shards import TraceShards
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.finished import (
    Evaluated,
    Harvested,
    Labelled,
    Optimised,
    Prepared,
    RobustnessTested,
    Selected,
    Trained,
)
from mascing.schemas.manifest import Manifest
from mascing.schemas.settings.method_settings import Span
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, read_shard
from mascing.storage.object_storage import Storage
from mascing.surrogates import surrogate
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.stored import StoredTraces

COUNTED = ["conversation_id", "group_id", "set", "method", "outcome", "cut_off"]
"""The columns of VERDICTS that counts are made of."""


def conversations_table(storage: Storage, source: Prepared | Labelled, split: Split) -> StoredTable:
    """The conversations of one split, in the order of the source: as brought (prepare), or as labelled (label)."""
    return StoredTable(storage, source, conversations_prefix(split))


def conversations_of(storage: Storage, source: Prepared | Labelled, split: Split) -> StoredConversations:
    """All conversations of one split, as :func:`conversations_table` has them."""
    return StoredConversations(conversations_table(storage, source, split))


def unsteered_table(storage: Storage, labelled: Labelled, split: Split) -> StoredTable:
    """The VERDICTS rows of the unsteered model on a split, in the order of its conversations."""
    return StoredTable(storage, labelled, unsteered_prefix(split))


def unsteered_outcomes(storage: Storage, labelled: Labelled, split: Split) -> pa.Table:
    """The columns of these rows that counts are made of: all but the replies, the thoughts and the reasons."""
    parts = unsteered_table(storage, labelled, split).parts()
    return pa.concat_tables(part.select(COUNTED) for part in parts)


def unsteered_of(storage: Storage, labelled: Labelled, split: Split) -> dict[str, dict[str, Any]]:
    """The VERDICTS row of the unsteered model on each conversation of a split, by conversation id."""
    table = unsteered_table(storage, labelled, split)
    return {row["conversation_id"]: row for part in table.parts() for row in part.to_pylist()}


def in_contrast(conversation: Conversation) -> bool:
    """Whether this is a labelled and matched target conversation: the two sides that the methods learn from."""
    return conversation.set == "target" and conversation.label is not None and conversation.contrast


def contrast_of(conversations: StoredConversations) -> StoredConversations:
    """The conversations that the methods learn from."""
    return conversations.where(in_contrast)


def recorded_of(storage: Storage, labelled: Labelled, harvested: Harvested, split: Split) -> StoredConversations:
    """The contrast of a split as far as it has traces."""
    failed = set(harvested.facts.quarantined)
    return conversations_of(storage, labelled, split).where(lambda row: in_contrast(row) and row.id not in failed)


def quarantined_of(storage: Storage, manifests: Iterable[Manifest | None]) -> dict[str, int]:
    """How many rows the stages quarantined, by reason; None stands for a stage that has not run."""
    tables = [
        _table(storage, manifest, QUARANTINE) for manifest in manifests if manifest and _has(manifest, QUARANTINE)
    ]
    return dict(Counter(reason for table in tables for reason in table.column("reason").to_pylist()))


def spec_of(harvested: Harvested) -> RouterSpec:
    """The routers of the harvested model."""
    return RouterSpec(**harvested.facts.spec.model_dump())


def sigma_of(harvested: Harvested) -> Tensor:
    """The calibrated spread of each layer's logits over the training split, float32 [L]."""
    return torch.tensor(harvested.facts.sigma)


def traces_of(storage: Storage, harvested: Harvested, split: Split) -> StoredTraces:
    """The traces of a split, in the order of its conversations, read on demand."""
    return TraceShards(storage, harvested, split).stored()


def surrogates_of(storage: Storage, trained: Trained, spans: Iterable[Span]) -> dict[Span, list[Surrogate]]:
    """The members of each span's ensemble."""
    return {
        span: [
            surrogate.from_bytes(read_shard(storage, trained, shard.name))
            for shard in trained.shards
            if shard.name.startswith(surrogate_prefix(span))
        ]
        for span in spans
    }


def candidates_of(storage: Storage, optimised: Optimised) -> list[Candidate]:
    """All candidates of all methods, each method's in the order of its grid."""
    return [
        candidate
        for method in optimised.facts.candidates
        for candidate in candidate_files.from_bytes(read_shard(storage, optimised, candidates_file(method)))
    ]


def attribution_of(storage: Storage, optimised: Optimised) -> Tensor | None:
    """The effect of every expert on the margin, in nats per logit, float32 [L, E]; None if none was computed."""
    if not _has(optimised, ATTRIBUTION):
        return None
    return _tensor(read_shard(storage, optimised, ATTRIBUTION), "effect", ATTRIBUTION)


def selected_of(storage: Storage, selected: Selected) -> dict[str, Candidate]:
    """The selected candidate of each method, the control included."""
    candidates = candidate_files.from_bytes(read_shard(storage, selected, SELECTED))
    return {candidate.method: candidate for candidate in candidates}


def dev_verdicts_of(storage: Storage, selected: Selected) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """The DEV_VERDICTS rows of the race and the control, by method, then by the number of the cell."""
    rows: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in _table(storage, selected, DEV_VERDICTS).to_pylist():
        rows[row["method"]][row["cell"]].append(row)
    return rows


def verdicts_of(storage: Storage, evaluated: Evaluated) -> dict[str, pa.Table]:
    """The VERDICTS table of each method and of `baseline`, in the order of the test split."""
    return {method: _table(storage, evaluated, verdicts_file(method)) for method in evaluated.facts.methods}


def condition_verdicts(storage: Storage, tested: RobustnessTested) -> dict[str, dict[str, pa.Table]]:
    """The VERDICTS tables by condition, then by method (`baseline` among them)."""
    return {
        condition: {method: _table(storage, tested, condition_file(number, method)) for method in tested.facts.methods}
        for number, condition in enumerate(tested.facts.conditions)
    }


def truth_from(data: bytes, path: str | None) -> Tensor:
    """The known circuit [L, E] in the bytes of ``behaviour.truth``; raises DataError if they hold none."""
    return _tensor(data, "bias", f"{path}, which `behaviour.truth` names: correct it or drop it")


def _table(storage: Storage, manifest: Manifest, name: str) -> pa.Table:
    return parquet.table_of(read_shard(storage, manifest, name), storage.locate(f"{manifest.prefix}/{name}"))


def _has(manifest: Manifest, name: str) -> bool:
    return any(shard.name == name for shard in manifest.shards)


def _tensor(data: bytes, name: str, where: str) -> Tensor:
    try:
        tensor: Tensor = load(data)[name]
    except (SafetensorError, KeyError) as error:
        raise DataError(f"no tensor `{name}` [L, E] ({error}) in {where}") from error
    return tensor
