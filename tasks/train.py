"""The train stage: one surrogate a span, fitted to the training traces and scored on the dev traces, on the pool."""

from dataclasses import dataclass
from typing import Any

from mascing.stages import StageOutput, read_shard
from mascing.storage import Storage
from mascing.surrogate import Surrogate, from_bytes, score, surrogate_card, to_bytes, train_surrogate
from mascing.traces import labels_of
from schemas.config import RunConfig, Span
from schemas.manifest import Manifest
from tasks.actors import Pool, Worker
from tasks.harvest import traces_of
from tasks.stage import Body, StageRun, run_stage, steps


def train(storage: Storage, config: RunConfig, harvested: Manifest, *, pool: Pool) -> StageRun:
    """``surrogate-<span>.safetensors`` for each span of the `mascing` method; facts: each one's card on dev traces.

    Nothing is trained where that method is left out.
    """
    method = config.methods.mascing
    return run_stage(
        storage,
        "train",
        config.behaviour.name,
        identity={
            "spans": method.spans if method else (),
            "epochs": method.surrogate_epochs if method else None,
            "seed": config.seed,
        },
        inputs={"harvest": harvested},
        body=lambda output: _train(output, storage, config, harvested, pool),
    )


def surrogates_of(storage: Storage, trained: Manifest, spans: tuple[Span, ...]) -> dict[Span, Surrogate]:
    """The trained surrogate of each span."""
    return {span: from_bytes(read_shard(storage, trained, _shard_name(span))) for span in spans}


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    harvested: Manifest


def _train(output: StageOutput, storage: Storage, config: RunConfig, harvested: Manifest, pool: Pool) -> Body:
    spans = config.methods.mascing.spans if config.methods.mascing else ()
    shared = _Shared(config, storage, harvested)
    made = pool.map(_train_span, shared, spans, steps("train")) if spans else []
    shards = [output.put(_shard_name(span), data, rows=1) for span, (data, _) in zip(spans, made, strict=True)]
    return Body(shards, rows_in=len(shards), facts={span: card for span, (_, card) in zip(spans, made, strict=True)})


def _train_span(_: Worker, shared: _Shared, span: Span) -> tuple[bytes, dict[str, Any]]:
    method = shared.config.methods.mascing
    assert method is not None
    traces = traces_of(shared.storage, shared.harvested, "train").span(span)
    surrogate = train_surrogate(traces, method.surrogate_epochs, shared.config.seed)
    held_out = traces_of(shared.storage, shared.harvested, "dev").span(span)
    return to_bytes(surrogate), surrogate_card(score(surrogate, held_out), labels_of(held_out))


def _shard_name(span: Span) -> str:
    return f"surrogate-{span}.safetensors"
