"""The likelihood of given replies by teacher forcing, with gradients through the routers.

Shape suffixes: B row (a prompt with a reply), T token, R position before a reply token of any row, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, with_replies
from mascing.errors import DataError
from mascing.models.batching import right_padded
from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation


@dataclass(frozen=True)
class ReplyBatch:
    """The rows of one forward pass: token ids [B, T] padded on the right, and the position of each reply.

    ``before_R`` holds the positions whose logits predict a reply token of at least one row; ``reply_BR`` says of which
    rows.
    """

    ids_BT: Tensor
    before_R: Tensor
    reply_BR: Tensor

    def log_likelihood(self, model: Any) -> Tensor:
        """log p(reply | prompt) of every row, float32 [B]; only the logits at ``before_R`` are computed."""
        device = model.get_input_embeddings().weight.device
        # On several devices the head is not where the embedding is, and does not accept positions from there.
        keep = {} if _is_spread(model) else {"logits_to_keep": self.before_R.to(device)}
        logits_BTV: Tensor = model(input_ids=self.ids_BT.to(device), use_cache=False, **keep).logits
        logits_BRV = (logits_BTV if keep else logits_BTV[:, self.before_R.to(logits_BTV.device)]).float()
        target_BR = self.ids_BT[:, self.before_R + 1].to(logits_BRV.device)
        chosen_BR = logits_BRV.gather(-1, target_BR[..., None]).squeeze(-1) - logits_BRV.logsumexp(-1)
        return (chosen_BR * self.reply_BR.to(logits_BRV.device)).sum(dim=1)

    def margins(self, model: Any) -> Tensor:
        """log p(first reply) - log p(second reply) of each conversation, float32 [B / 2]."""
        first_B, second_B = self.log_likelihood(model).chunk(2)
        return first_B - second_B


def contrast_batches(loaded: Loaded, contrast: Sequence[Conversation], batch_size: int) -> list[ReplyBatch]:
    """Batches of the wanted and the unwanted reply of every conversation that has both.

    Raises DataError if no conversation has both.
    """
    pairs = [
        (conversation, (conversation.wanted, conversation.unwanted))
        for conversation in contrast
        if conversation.wanted and conversation.unwanted
    ]
    if not pairs:
        raise DataError("gradients need conversations with a `wanted` and an `unwanted` reply: there are none")
    return reply_batches(loaded, pairs, batch_size)


def reply_batches(
    loaded: Loaded, pairs: Sequence[tuple[Conversation, tuple[str, ...]]], batch_size: int
) -> list[ReplyBatch]:
    """Batches of ``batch_size`` conversations of similar length, one row per reply.

    ``pairs`` holds conversations with their replies, equally many for each. The rows of a batch hold the first reply of
    all its conversations, then the second of all, and so on. Raises DataError if a conversation cannot be rendered.
    """
    rendered = [_rendered(loaded, conversation, replies) for conversation, replies in pairs]
    rendered.sort(key=lambda given: given[0].prompt[1])
    chunks = [rendered[start : start + batch_size] for start in range(0, len(rendered), batch_size)]
    return [_batch([given[turn] for turn in range(len(chunk[0])) for given in chunk]) for chunk in chunks]


def _is_spread(model: Any) -> bool:
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def _rendered(loaded: Loaded, conversation: Conversation, replies: Sequence[str]) -> list[Prompt]:
    """The prompt with each reply. All lose as many of the oldest tokens as the longest exceeds the context by."""
    given = with_replies(loaded.tokenizer, conversation, replies)
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    excess = max(len(prompt.token_ids) for prompt in given) - context if context else 0
    return [prompt.without_oldest(excess) for prompt in given] if excess > 0 else given


def _batch(rows: Sequence[Prompt]) -> ReplyBatch:
    spans = [(row.prompt[1] - 1, len(row.token_ids) - 1) for row in rows]
    before_R = torch.tensor(sorted({position for span in spans for position in range(*span)}))
    first_B1, end_B1 = torch.tensor(spans).T[..., None]
    return ReplyBatch(
        right_padded([row.token_ids for row in rows]),
        before_R,
        (before_R >= first_B1) & (before_R < end_B1),
    )
