"""The train stage fits an ensemble of surrogates per span to the training traces and tests it on the dev traces.

It also holds the strongest experts of each span, and the surrogates, against splits by topic alone.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from mascing.progress import Event, tell
from mascing.runs.files import surrogate_prefix
from mascing.runs.readers import recorded_of, traces_of
from mascing.runs.stored_conversations import StoredConversations
from mascing.schemas.base import Frozen
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.schemas.cards.topic_null import ExpertNull
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Split
from mascing.schemas.facts import TrainFacts
from mascing.schemas.finished import Harvested, Labelled, Trained
from mascing.schemas.settings.method_settings import Span
from mascing.statistics.auc import auc
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import StageOutput, shard_of
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import UNSEALED, open_json, seal, seal_json
from mascing.surrogates.card import surrogate_card
from mascing.surrogates.confounds import refuse_confounded
from mascing.surrogates.device import own_device
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.permutation import permuted_labels
from mascing.surrogates.surrogate import from_bytes, score, to_bytes, train_surrogate
from mascing.surrogates.trivial_predictors import trivial_scores
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.running.stored_items import stored_items
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.worker import Worker
from mascing.topics.doubts import clearances, doubts, topic_checks
from mascing.topics.experts import expert_null
from mascing.topics.score_nulls import score_null
from mascing.topics.shared_topics import contrasts
from mascing.traces.trace_set import Traces, random_sample, token_counts

C = TypeVar("C", bound=Frozen)

_SPLITS: tuple[Split, ...] = ("train", "dev")


def train(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, *, pool: Pool
) -> Finished[Trained]:
    """Write ``surrogate-<span>-<number>.safetensors`` for each span of `mascing` and `consensus`; none if both are off.

    Raises:
        DataError: if the form of the conversations explains a surrogate and the configuration does not allow that. The
            stage is committed before, so that a run that allows it continues from here.
    """
    contrast = {split: recorded_of(storage, labelled, harvested, split) for split in _SPLITS}
    read = Part(labelled, fingerprint({split: Streamed(rows) for split, rows in contrast.items()}))
    finished = run_stage(
        storage,
        recipe(config, read, harvested),
        lambda output: _train(output, _Shared(config, storage, harvested, contrast), pool),
    )
    for note in _notes(finished, config):
        tell(Event("train", "note", text=note))
    if not config.surrogate.allow_confounded:
        refuse_confounded(finished.manifest.facts.cards)
    return finished


def recipe(config: RunConfig, labelled: Placed, harvested: Placed) -> Recipe[Trained]:
    """The recipe that identifies the surrogates."""
    identity = {
        "spans": config.methods.surrogate_spans,
        "listed": sorted(config.methods.contrasted_spans),
        "members": config.surrogate.members,
        "epochs": config.surrogate.epochs,
        "traces": config.surrogate.traces,
        "seed": config.seed,
    }
    return Recipe(Trained, config.behaviour.name, identity, {"label": labelled, "harvest": harvested})


def _notes(finished: Finished[Trained], config: RunConfig) -> Iterator[str]:
    """What topic or chance explains, and what follows from it; once, that topic explains nothing."""
    facts = finished.manifest.facts
    if not finished.reused:
        yield from clearances(facts)
    yield from doubts(facts)
    explained = [span for span, check in topic_checks(facts).items() if check.state == "explained"]
    if explained and not config.gates.allow_topic:
        yield (
            f"will block publication of masks that are found in {' and '.join(explained)} by comparing the routing of "
            "the classes, unless gates.allow_topic is true"
        )


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    storage: Storage
    harvested: Harvested
    contrast: Mapping[Split, StoredConversations]


@dataclass(frozen=True)
class _Fit:
    """One surrogate to train: a member of its span's ensemble, or the control on permuted labels."""

    span: Span
    seed: int
    control: bool = False


@dataclass(frozen=True)
class _Ensemble:
    span: Span
    members: Sequence[bytes]
    control: bytes


def _train(output: StageOutput[Trained], shared: _Shared, pool: Pool) -> Body:
    spans, seed = shared.config.methods.surrogate_spans, shared.config.seed
    listed = shared.config.methods.contrasted_spans
    seeds = member_seeds(seed, shared.config.surrogate.members)
    members = {_member(span, n): _Fit(span, own) for span in spans for n, own in enumerate(seeds)}
    fits = members | {_control(span): _Fit(span, seed, control=True) for span in spans}
    n_steps = len(fits) + len(spans) + len(listed)
    fitted = stored_items(pool, output, _fit, shared, fits, _part(0, n_steps))
    ensembles = {
        f"card-{span}.json": _Ensemble(
            span, [fitted[_member(span, number)] for number in range(len(seeds))], fitted[_control(span)]
        )
        for span in spans
    }
    cards = stored_items(pool, output, _card, shared, ensembles, _part(len(fits), n_steps))
    # Every member is a row. The controls and the cards are kept beside them, for who goes on with the stage.
    shards = [shard_of(name, data, rows=int(not fits[name].control)) for name, data in fitted.items()]
    lists = {f"experts-{span}.json": span for span in listed}
    experts = stored_items(pool, output, _experts, shared, lists, _part(len(fits) + len(spans), n_steps))
    shards += [shard_of(name, data, rows=0) for name, data in (cards | experts).items()]
    facts = TrainFacts(
        cards=dict(zip(spans, _read(SurrogateCard, cards), strict=True)),
        experts=dict(zip(listed, _read(ExpertNull, experts), strict=True)),
    )
    return Body(shards, facts, rows_in=len(spans) * len(seeds))


def _read(card: type[C], sealed: Mapping[str, bytes]) -> list[C]:
    return [card.model_validate_json(open_json(data, name)) for name, data in sealed.items()]


def _member(span: Span, number: int) -> str:
    return f"{surrogate_prefix(span)}{number:02d}.safetensors"


def _control(span: Span) -> str:
    return f"control-{span}.safetensors"


def _part(before: int, total: int) -> Callable[[int, int], None]:
    """Progress of one of the stage's maps, after ``before`` steps of ``total``."""
    progress = steps("train")
    return lambda done, _: progress(before + done, total)


def _fit(_: Worker, shared: _Shared, fit: _Fit) -> bytes:
    config, contrast = shared.config.surrogate, shared.contrast["train"]
    traces: Traces = traces_of(shared.storage, shared.harvested, "train").span(fit.span)
    if len(contrast) > config.traces:
        traces = random_sample(traces, config.traces, 0, torch.Generator().manual_seed(fit.seed))
    if fit.control:
        traces = traces.relabelled(_permuted(contrast, fit.seed))
    surrogate = train_surrogate(traces, config.epochs, fit.seed, own_device())
    return seal(io.BytesIO(to_bytes(surrogate, UNSEALED)))


def _card(_: Worker, shared: _Shared, ensemble: _Ensemble) -> bytes:
    train_contrast, dev = shared.contrast["train"], shared.contrast["dev"]
    train_traces, dev_traces = (
        traces_of(shared.storage, shared.harvested, split).span(ensemble.span) for split in ("train", "dev")
    )
    tokens = token_counts(train_traces) | token_counts(dev_traces)
    groups = [conversation.group_id for conversation in dev]
    permuted = _permuted(dev, shared.config.seed)
    permuted_dev = [permuted[conversation.id] for conversation in dev]
    scores = [score(from_bytes(member).to(own_device()), dev_traces) for member in ensemble.members]
    card = surrogate_card(
        scores,
        trivial_scores(train_contrast, dev, tokens),
        auc(score(from_bytes(ensemble.control).to(own_device()), dev_traces), permuted_dev, groups),
        [int(conversation.label == "positive") for conversation in dev],
        groups,
    )
    found = contrasts(train_contrast, dev)
    topic = score_null(np.mean([np.asarray(member) for member in scores], axis=0), found.dev, found.topics)
    return seal_json(card.model_copy(update={"topic": topic}).model_dump_json(indent=1))


def _experts(_: Worker, shared: _Shared, span: Span) -> bytes:
    found = contrasts(shared.contrast["train"], shared.contrast["dev"])
    traces = traces_of(shared.storage, shared.harvested, "train").span(span)
    null = expert_null(traces, found.train, found.topics, shared.harvested.facts.spec.layer_ids)
    return seal_json(null.model_dump_json(indent=1))


def _permuted(contrast: StoredConversations, seed: int) -> dict[str, int]:
    labels = {row.id: (int(row.label == "positive"), row.group_id) for row in contrast}  # read once
    permuted = permuted_labels([own for own, _ in labels.values()], [group for _, group in labels.values()], seed)
    return dict(zip(labels, permuted, strict=True))
