"""The likelihood of given replies by teacher forcing, with gradients through the routers.

Shape suffixes: B row (a prompt with a reply), T token, R position before a reply token of any row, V vocabulary.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, with_replies
from mascing.errors import DataError
from mascing.models.batching import right_padded
from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation

Replies = tuple[str, ...]


@dataclass(frozen=True)
class ReplyBatch:
    """The rows of one forward pass: token ids [B, T] padded on the right, and the position of each reply.

    ``before_R`` holds the positions whose logits predict a reply token of at least one row; ``reply_BR`` says of which
    rows. A conversation has a row for each of its ``replies``: the rows hold the first reply of all conversations, then
    the second of all, and so on. Its length is its number of conversations.
    """

    ids_BT: Tensor
    before_R: Tensor
    reply_BR: Tensor
    replies: int

    def __len__(self) -> int:
        return len(self.ids_BT) // self.replies

    def rows_of(self, chosen: Sequence[int]) -> list[int]:
        """The numbers of the rows of the conversations ``chosen``."""
        return [turn * len(self) + number for turn in range(self.replies) for number in chosen]

    def part(self, chosen: Sequence[int]) -> "ReplyBatch":
        """The conversations ``chosen``, each padded as in this batch."""
        rows = self.rows_of(chosen)
        needed_R = self.reply_BR[rows].any(dim=0)
        return ReplyBatch(self.ids_BT[rows], self.before_R[needed_R], self.reply_BR[rows][:, needed_R], self.replies)

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


class ReplyBatches(Sequence[ReplyBatch]):
    """Batches of ``batch_size`` conversations of similar length, rendered whenever one of them is read.

    ``replies_of`` gives the replies of a conversation, equally many for each, or None if it does not take part. Between
    reads only the order of the conversations is held. Raises DataError if a conversation cannot be rendered.
    """

    def __init__(
        self,
        loaded: Loaded,
        conversations: Sequence[Conversation],
        replies_of: Callable[[Conversation], Replies | None],
        batch_size: int,
    ) -> None:
        self._loaded, self._conversations, self._replies_of = loaded, conversations, replies_of
        places, lengths = array("q"), array("q")
        for place, conversation in enumerate(conversations):
            if (replies := replies_of(conversation)) is not None:
                places.append(place)
                lengths.append(_rendered(loaded, conversation, replies)[0].prompt[1])
        self.conversations = len(places)
        in_order = torch.tensor(lengths, dtype=torch.long).argsort(stable=True)
        self._chunks = torch.tensor(places, dtype=torch.long)[in_order].split(batch_size) if places else ()

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> ReplyBatch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ReplyBatch]: ...
    def __getitem__(self, index: int | slice) -> ReplyBatch | Sequence[ReplyBatch]:
        """Render the batch at ``index``, or those of a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        rendered = [self._rendered(self._conversations[number]) for number in self._chunks[index].tolist()]
        replies = len(rendered[0])
        return _batch([given[turn] for turn in range(replies) for given in rendered], replies)

    def _rendered(self, conversation: Conversation) -> list[Prompt]:
        return _rendered(self._loaded, conversation, self._replies_of(conversation) or ())


def contrast_batches(loaded: Loaded, contrast: Sequence[Conversation], batch_size: int) -> ReplyBatches:
    """Return the batches of the wanted and the unwanted reply of every conversation that has both.

    Raises DataError if no conversation has both.
    """
    batches = ReplyBatches(loaded, contrast, _both_replies, batch_size)
    if not len(batches):
        raise DataError("gradients need conversations with a `wanted` and an `unwanted` reply: there are none")
    return batches


def _both_replies(conversation: Conversation) -> Replies | None:
    wanted, unwanted = conversation.wanted, conversation.unwanted
    return (wanted, unwanted) if wanted and unwanted else None


def _is_spread(model: Any) -> bool:
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def _rendered(loaded: Loaded, conversation: Conversation, replies: Sequence[str]) -> list[Prompt]:
    """The prompt with each reply. All lose as many of the oldest tokens as the longest exceeds the context by."""
    given = with_replies(loaded.tokenizer, conversation, replies)
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    excess = max(len(prompt.token_ids) for prompt in given) - context if context else 0
    return [prompt.without_oldest(excess) for prompt in given] if excess > 0 else given


def _batch(rows: Sequence[Prompt], replies: int) -> ReplyBatch:
    spans = [(row.prompt[1] - 1, len(row.token_ids) - 1) for row in rows]
    before_R = torch.tensor(sorted({position for span in spans for position in range(*span)}))
    first_B1, end_B1 = torch.tensor(spans).T[..., None]
    return ReplyBatch(
        right_padded([row.token_ids for row in rows]),
        before_R,
        (before_R >= first_B1) & (before_R < end_B1),
        replies,
    )
