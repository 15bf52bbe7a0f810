"""Write the replies of one batch, each under its own mask, and count what the masks acted on.

Shapes: B row of the batch, T token.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.thoughts import ThoughtReader
from mascing.engines.endings import before_end
from mascing.engines.generation import decoding_settings, left_padded
from mascing.engines.sampling import RowSampler, refuse_nan
from mascing.errors import ServerError, SteeringError
from mascing.models.loading import Loaded
from mascing.serving.thin_endpoint.asked import Asked, Done, Writing
from mascing.serving.thin_endpoint.selections import Selections
from mascing.steering.steer import Steering, steer


def write_replies(
    loaded: Loaded, batch: Sequence[Asked], selections: Selections, stopping: Callable[[], bool]
) -> list[Done]:
    """Write the replies of a batch whose ``tokens`` and ``temperature`` are the same, and tell their text meanwhile.

    Greedy replies are those of :class:`TransformersEngine`. Raises SteeringError if the masks did not act on just the
    tokens that they should, and ServerError once ``stopping`` is true.
    """
    first = batch[0]
    steers = any(asked.mask is not None for asked in batch)
    with (
        decoding_settings(loaded, max(asked.max_tokens for asked in batch)) as settings,
        _steered(loaded, batch) if steers else nullcontext() as handle,
        torch.inference_mode(),
    ):
        reader = ThoughtReader(loaded.tokenizer)
        rows = [Writing(asked, reader, settings.stop_strings or ()) for asked in batch]
        ids_BT, real_BT = left_padded(
            [asked.prompt.token_ids for asked in batch], settings.pad_token_id, loaded.model.device
        )
        before = {} if handle is None else handle.counters
        watch = _Watch(rows, set(settings.eos_token_id or ()), ids_BT.shape[1], selections, stopping)
        sampler = [RowSampler([asked.seed for asked in batch], first.temperature)] if first.temperature > 0 else []
        with selections.of_batch(torch.tensor([asked.mask is None for asked in batch])):
            watch.count_from(real_BT)
            output_BT = loaded.model.generate(
                input_ids=ids_BT,
                attention_mask=real_BT,
                generation_config=settings,
                logits_processor=[refuse_nan, *sampler],
                stopping_criteria=[watch],
                tokenizer=loaded.tokenizer,
            )
        written = output_BT[:, ids_BT.shape[1] :].tolist()
        counts = [_Counted.of(row, ids, settings) for row, ids in zip(rows, written, strict=True)]
        layers = {} if handle is None else {layer: n - before[layer] for layer, n in handle.counters.items()}
        _refuse_other_counts(layers, sum(count.in_all for count in counts))
    return [
        Done(
            row.whole(before_end(watch.ends, ids[: row.length])),
            dict.fromkeys(layers, count.needed),
            selections.of_row(number) if row.asked.selected else None,
        )
        for number, (row, ids, count) in enumerate(zip(rows, written, counts, strict=True))
    ]


def _steered(loaded: Loaded, batch: Sequence[Asked]) -> AbstractContextManager[Steering]:
    return steer(loaded.model, [asked.mask for asked in batch], tokens=batch[0].tokens)


@dataclass(frozen=True)
class _Counted:
    """The tokens of a row on which its mask must have acted, ``in_all`` and as far as the reply ``needed`` them.

    The last token of a row that ends before others is given to the model for their sake alone.
    """

    in_all: int
    needed: int

    @classmethod
    def of(cls, row: Writing, ids: Sequence[int], settings: Any) -> "_Counted":
        """For the columns that were written in a row: the model never got the last one."""
        if row.asked.mask is None:
            return cls(0, 0)
        given = len(before_end({*(settings.eos_token_id or ()), settings.pad_token_id}, list(ids[:-1])))
        needed = given if row.length is None else min(given, row.length - 1)
        prompt = len(row.asked.prompt.token_ids)
        match row.asked.tokens:
            case "all":
                return cls(prompt + given, prompt + needed)
            case "prompt":
                return cls(prompt, prompt)
            case "reply":
                return cls(given, needed)


def _refuse_other_counts(counted: Mapping[int, int], wanted: int) -> None:
    """Raise SteeringError unless every layer counted as many steered tokens as the rows with a mask have."""
    if any(n != wanted for n in counted.values()):
        raise SteeringError(f"the masks should have acted on {wanted} tokens, and acted on {dict(counted)} by layer")


class _Watch:
    """Ends each row where it should, and tells what is written. ``generate`` calls it after each token."""

    def __init__(
        self,
        rows: Sequence[Writing],
        ends: set[int],
        prompt: int,
        selections: Selections,
        stopping: Callable[[], bool],
    ) -> None:
        self._rows, self.ends, self._prompt = rows, ends, prompt
        self._selections, self._stopping = selections, stopping
        self._done = [False] * len(rows)
        self._counted_B = torch.tensor([row.asked.mask is None or row.asked.selected for row in rows])

    def count_from(self, real_BT: Tensor) -> None:
        """Count the selections of unsteered rows and of those that ask for it; ``real_BT`` are the prompts' tokens."""
        self._count(real_BT.bool().cpu() & self._counted_B[:, None])

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether each row is done, bool [B]."""
        if self._stopping():
            raise ServerError("the server stops: ask again once it is back")
        for number, (row, ids) in enumerate(zip(self._rows, input_ids[:, self._prompt :].tolist(), strict=True)):
            if not self._done[number]:
                self._done[number] = ids[-1] in self.ends or row.ends_with(ids)
        self._count((~torch.tensor(self._done) & self._counted_B)[:, None])
        return torch.tensor(self._done, device=input_ids.device)

    def _count(self, tokens: Tensor) -> None:
        self._selections.tokens = tokens if tokens.any() else None
