"""The train stage: an ensemble of surrogates a span, fitted to the training traces and scored on the dev traces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.ensemble import ensemble_score, member_seeds
from mascing.stages import StageOutput, read_shard
from mascing.storage import Storage
from mascing.surrogate import Surrogate, from_bytes, surrogate_card, to_bytes, train_surrogate
from mascing.traces import labels_of
from schemas.config import RunConfig, Span
from schemas.manifest import Manifest
from tasks.actors import Pool, Worker
from tasks.harvest import traces_of
from tasks.stage import Body, StageRun, run_stage, steps


def train(storage: Storage, config: RunConfig, harvested: Manifest, *, pool: Pool) -> StageRun:
    """``surrogate-<span>-<number>.safetensors`` for each span of the `mascing` method; facts: each ensemble's card.

    Nothing is trained where that method is left out.
    """
    return run_stage(
        storage,
        "train",
        config.behaviour.name,
        identity={
            "spans": _spans(config),
            "members": config.surrogate.members,
            "epochs": config.surrogate.epochs,
            "seed": config.seed,
        },
        inputs={"harvest": harvested},
        body=lambda output: _train(output, storage, config, harvested, pool),
    )


def surrogates_of(storage: Storage, trained: Manifest, spans: tuple[Span, ...]) -> dict[Span, list[Surrogate]]:
    """The members of each span's ensemble."""
    names = [shard.name for shard in trained.shards]
    return {
        span: [from_bytes(read_shard(storage, trained, name)) for name in names if name.startswith(_prefix(span))]
        for span in spans
    }


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    harvested: Manifest


@dataclass(frozen=True)
class _Member:
    span: Span
    seed: int


@dataclass(frozen=True)
class _Ensemble:
    span: Span
    members: Sequence[bytes]


def _spans(config: RunConfig) -> tuple[Span, ...]:
    return config.methods.mascing.spans if config.methods.mascing else ()


def _train(output: StageOutput, storage: Storage, config: RunConfig, harvested: Manifest, pool: Pool) -> Body:
    spans, seeds = _spans(config), member_seeds(config.seed, config.surrogate.members)
    if not spans:
        return Body([], rows_in=0)
    shared = _Shared(config, storage, harvested)
    items = [_Member(span, seed) for span in spans for seed in seeds]
    n_steps = len(items) + len(spans)
    fitted = pool.map(_train_member, shared, items, _part(0, n_steps))
    ensembles = [
        _Ensemble(span, fitted[place * len(seeds) : (place + 1) * len(seeds)]) for place, span in enumerate(spans)
    ]
    cards = pool.map(_card, shared, ensembles, _part(len(items), n_steps))
    shards = [
        output.put(f"{_prefix(ensemble.span)}{number:02d}.safetensors", data, rows=1)
        for ensemble in ensembles
        for number, data in enumerate(ensemble.members)
    ]
    return Body(shards, rows_in=len(shards), facts=dict(zip(spans, cards, strict=True)))


def _part(before: int, total: int) -> Callable[[int, int], None]:
    """Progress of one of the stage's maps, after ``before`` steps of ``total``."""
    told = steps("train")
    return lambda done, _: told(before + done, total)


def _train_member(_: Worker, shared: _Shared, member: _Member) -> bytes:
    traces = traces_of(shared.storage, shared.harvested, "train").span(member.span)
    return to_bytes(train_surrogate(traces, shared.config.surrogate.epochs, member.seed))


def _card(_: Worker, shared: _Shared, ensemble: _Ensemble) -> dict[str, Any]:
    held_out = traces_of(shared.storage, shared.harvested, "dev").span(ensemble.span)
    members = [from_bytes(data) for data in ensemble.members]
    return surrogate_card(ensemble_score(members, held_out), labels_of(held_out))


def _prefix(span: Span) -> str:
    # No span's name begins another one followed by a dash.
    return f"surrogate-{span}-"
