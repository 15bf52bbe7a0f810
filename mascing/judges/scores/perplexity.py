"""The perplexity judge: a reply must be likely text under a reference model.

Shape suffixes: B reply, T token, V vocabulary.
"""

import time
from collections.abc import Sequence
from math import exp, inf
from typing import Any

from mascing.judges.judge import BatchJudge, Pair, Verdicts, scored, unscored
from mascing.judges.speakers.checkpoint import causal_model, context_of, model_identity
from mascing.schemas.settings.judging_models import PerplexityJudge
from mascing.storage.object_storage import Storage


def perplexity_judge(config: PerplexityJudge) -> BatchJudge:
    """A hit is a reply whose perplexity is at most ``at_most``; one of fewer than ``min_tokens`` tokens is unscored.

    The reply is read alone, without the conversation, after the model's beginning-of-text token if it has one. Of a
    reply that is longer than the model's context the beginning is read, and the reason says so.
    """

    async def judge(pairs: Sequence[Pair], storage: Storage | None) -> Verdicts:
        del storage
        network, tokenizer = causal_model(config.model)
        rows = [tokenizer(reply, add_special_tokens=False, verbose=False)["input_ids"] for _, reply in pairs]
        long_enough = []
        for place, row in enumerate(rows):
            if len(row) < config.min_tokens:
                yield place, unscored(f"its {len(row)} tokens are too few: min_tokens is {config.min_tokens}", False)
            else:
                long_enough.append(place)
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        limit = context_of(network)
        long_enough.sort(key=lambda place: -len(rows[place]))
        for start in range(0, len(long_enough), config.model.batch_size):
            batch = long_enough[start : start + config.model.batch_size]
            began = time.perf_counter()
            found = perplexities(network, [(begin + rows[place])[:limit] for place in batch])
            seconds = (time.perf_counter() - began) / len(batch)
            for place, perplexity in zip(batch, found, strict=True):
                read = min(len(rows[place]), (limit or len(rows[place]) + 1) - len(begin))
                part = f", of the first {read} of {len(rows[place])} tokens" if read < len(rows[place]) else ""
                verdict = scored(perplexity <= config.at_most, f"perplexity {perplexity:.4g}{part}", final=False)
                yield place, verdict.model_copy(update={"raw": f"{perplexity:.6g}", "seconds": seconds})

    return BatchJudge(judge)


def perplexity_identity(config: PerplexityJudge) -> dict[str, Any]:
    """The model."""
    return model_identity(config.model)


def perplexities(network: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """exp of the mean negative log-likelihood of each row's tokens after its first."""
    import torch

    from mascing.models.batching import right_padded

    ids_BT = right_padded(rows).to(network.device)
    with torch.inference_mode():
        logits_BTV = network(input_ids=ids_BT, use_cache=False).logits[:, :-1].float()
    chosen_BT = logits_BTV.gather(-1, ids_BT[:, 1:, None]).squeeze(-1) - logits_BTV.logsumexp(-1)
    means = [float(chosen_T[: len(row) - 1].mean()) for chosen_T, row in zip(chosen_BT, rows, strict=True)]
    return [exp(-mean) if mean > -700 else inf for mean in means]
