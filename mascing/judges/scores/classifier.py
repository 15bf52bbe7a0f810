"""The classifier judge: a sequence-classification model must find the label of a hit.

Shape suffixes: B reply, C class.
"""

import time
from collections.abc import Sequence
from typing import Any

from mascing.errors import ConfigError
from mascing.judges.judge import BatchJudge, Pair, Verdicts, scored, unscored
from mascing.judges.speakers.checkpoint import classification_model, context_of, model_identity
from mascing.schemas.settings.judging_models import ClassifierJudge
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage


def classifier_judge(config: ClassifierJudge) -> BatchJudge:
    """A hit is a reply that gets the label with at least the probability ``threshold``; an empty one is unscored.

    A reply that is longer than the model's context is read as far as it goes, and the reason says so: it can be a hit,
    and is unscored where it would be a miss. Raises ConfigError for a label that the model does not have.
    """

    async def judge(pairs: Sequence[Pair], storage: Storage | None) -> Verdicts:
        del storage
        network, tokenizer = classification_model(config.model)
        number = label_number(config.label, network.config)
        spoken = []
        for place, (_, reply) in enumerate(pairs):
            if reply.strip():
                spoken.append(place)
            else:
                yield place, unscored()
        spoken.sort(key=lambda place: -len(pairs[place][1]))
        for start in range(0, len(spoken), config.model.batch_size):
            batch = spoken[start : start + config.model.batch_size]
            began = time.perf_counter()
            found = _read(network, tokenizer, config, [pairs[place] for place in batch])
            seconds = (time.perf_counter() - began) / len(batch)
            for place, (shares_C, tokens, kept) in zip(batch, found, strict=True):
                verdict = _verdict(config, shares_C[number], tokens, kept)
                raw = ", ".join(f"{name} {share:.4f}" for name, share in _named(network.config, shares_C))
                yield place, verdict.model_copy(update={"raw": raw, "seconds": seconds})

    return BatchJudge(judge)


def classifier_identity(config: ClassifierJudge) -> dict[str, Any]:
    """The model."""
    return model_identity(config.model)


def label_number(label: str | int, settings: Any) -> int:
    """The number of a label. Raises ConfigError if the model does not have it."""
    names = {int(number): str(name) for number, name in settings.id2label.items()}
    if isinstance(label, int):
        if label in names:
            return label
    elif len(numbers := [number for number, name in names.items() if name == label]) == 1:
        return numbers[0]
    known = ", ".join(f"{name} ({number})" for number, name in sorted(names.items()))
    raise ConfigError(f"label: the classifier has no label {label!r}, only {known}")


def _read(
    network: Any, tokenizer: Any, config: ClassifierJudge, pairs: Sequence[Pair]
) -> list[tuple[list[float], int, int]]:
    """The probability of each class, and how many tokens each input has and how many of them were read."""
    import torch

    replies = [reply for _, reply in pairs]
    requests = [conversation.messages[-1].content for conversation, _ in pairs] if config.reads == "exchange" else None
    first, second = (replies, None) if requests is None else (requests, replies)
    lengths = [len(ids) for ids in tokenizer(first, second, verbose=False)["input_ids"]]
    limit = min((each for each in (context_of(network), tokenizer.model_max_length) if each), default=None)
    inputs = tokenizer(
        first,
        second,
        padding=True,
        # A pair keeps its reply for as long as there is a request to shorten.
        truncation=True if second is None else "only_first" if _keeps(tokenizer, replies, limit) else True,
        max_length=limit,
        return_tensors="pt",
    ).to(network.device)
    with torch.inference_mode():
        logits_BC = network(**inputs).logits.float()
    independent = logits_BC.shape[1] == 1 or network.config.problem_type == "multi_label_classification"
    shares_BC = logits_BC.sigmoid() if independent else logits_BC.softmax(-1)
    kept = inputs["attention_mask"].sum(1).tolist()
    return list(zip(shares_BC.tolist(), lengths, kept, strict=True))


def _keeps(tokenizer: Any, replies: Sequence[str], limit: int | None) -> bool:
    """Whether every reply fits into half of the context, so that shortening requests alone suffices."""
    return limit is not None and max(len(ids) for ids in tokenizer(list(replies), verbose=False)["input_ids"]) < limit


def _named(settings: Any, shares_C: Sequence[float]) -> list[tuple[str, float]]:
    return [(str(settings.id2label.get(number, number)), share) for number, share in enumerate(shares_C)]


def _verdict(config: ClassifierJudge, share: float, tokens: int, kept: int) -> Verdict:
    read = f"{config.label} has probability {share:.2f}"
    hit = share >= config.threshold
    if kept < tokens:
        read += f", read from {kept} of {tokens} tokens"
        if not hit:
            return unscored(f"{read}: the rest may have it")
    return scored(hit, read, final=hit)
