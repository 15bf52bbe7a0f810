"""Replies of a model, steered or not: batched, greedy or sampled, the same for the same conversations.

Shape suffixes: B batch, T token, L MoE layer, E expert.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, render
from mascing.engines.sampling import RowSampler
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer
from mascing.traces.recording import record


def generate(
    loaded: Loaded, conversations: Sequence[Conversation], mask: Mask | None, generation: GenerationConfig
) -> list[str]:
    """One reply a conversation, in the order given; ``mask`` None is the model as it is.

    Raises DataError if a conversation cannot be rendered, MaskError or SteeringError if the mask cannot be put in
    force. Many masks on the same conversations share the rendering: see :func:`prompts_of` and :func:`complete`.
    """
    return complete(loaded, prompts_of(loaded, conversations, generation), mask, generation)


def prompts_of(loaded: Loaded, conversations: Sequence[Conversation], generation: GenerationConfig) -> list[Prompt]:
    """The rendered conversations, without the oldest tokens where prompt and reply would not fit into the context."""
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    room = context - generation.max_new_tokens if context else None
    return [render(loaded.tokenizer, conversation, max_tokens=room) for conversation in conversations]


def complete(loaded: Loaded, prompts: Sequence[Prompt], mask: Mask | None, generation: GenerationConfig) -> list[str]:
    """One reply a prompt, in the order given: greedy at temperature 0, else sampled by its conversation's id.

    The prompts of a batch are ``batch_size`` neighbours in the order of length, longest first. Which they are depends
    on the prompts alone, so the replies do not depend on where or beside what else this runs.
    """
    replies = [""] * len(prompts)
    with (
        _greedy(loaded, generation) as settings,
        steer(loaded.model, mask) if mask is not None else nullcontext(),
        torch.inference_mode(),
    ):
        for batch in _batches(prompts, generation.batch_size):
            texts = _replies(loaded, [prompts[index] for index in batch], settings, generation.temperature)
            for index, text in zip(batch, texts, strict=True):
                replies[index] = text
    return replies


def complete_recorded(
    loaded: Loaded, prompts: Sequence[Prompt], masks: Sequence[Mask], generation: GenerationConfig
) -> list[tuple[str, Tensor]]:
    """One reply a prompt, each under its own mask, and the routing that led to it, in the order given.

    The routing is float16 [T, L, E] on the host: the raw router logits of the final user turn and what follows it up
    to the reply, before the mask is added to them. They are those of the generation itself, at no forward more.
    """
    found: list[tuple[str, Tensor]] = [("", torch.empty(0))] * len(prompts)
    with _greedy(loaded, generation) as settings, torch.inference_mode():
        for batch in _batches(prompts, generation.batch_size):
            rows = [prompts[index] for index in batch]
            with steer(loaded.model, [masks[index] for index in batch]), record(loaded.model) as trace:
                texts = _replies(loaded, rows, settings, generation.temperature)
                z_BTLE = trace.take().to("cpu", torch.float16)
            end = max(len(row.token_ids) for row in rows)
            for index, text, row, z_TLE in zip(batch, texts, rows, z_BTLE, strict=True):
                # Cloned, so that a batch's replies and padding are not kept with it.
                found[index] = text, z_TLE[end - len(row.token_ids) + row.question[0] : end].clone()
    return found


def _batches(prompts: Sequence[Prompt], size: int) -> Iterator[list[int]]:
    """Indices of ``size`` prompts at a time, the longest first."""
    lengths = [len(prompt.token_ids) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: (-lengths[index], index))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _replies(loaded: Loaded, prompts: Sequence[Prompt], settings: Any, temperature: float) -> list[str]:
    rows = [prompt.token_ids for prompt in prompts]
    ids_BT, real_BT = _left_padded(rows, settings.pad_token_id, loaded.model.device)
    sampler = [RowSampler([prompt.conversation_id for prompt in prompts], temperature)] if temperature > 0 else []
    output_BT = loaded.model.generate(
        input_ids=ids_BT, attention_mask=real_BT, generation_config=settings, logits_processor=sampler
    )
    ends = set(settings.eos_token_id or ())
    replies = [_until(ends, row) for row in output_BT[:, ids_BT.shape[1] :].tolist()]
    return [str(text) for text in loaded.tokenizer.batch_decode(replies, skip_special_tokens=True)]


def _left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, [B, T]; the padding stands first, as generation continues at the end."""
    length = max(len(row) for row in rows)
    ids = [[pad_id] * (length - len(row)) + list(row) for row in rows]
    real = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(real, device=device)


def _until(ends: set[int], row: list[int]) -> list[int]:
    """The tokens before the first end: what follows is padding, which need not be a special token."""
    return row[: next((place for place, token in enumerate(row) if token in ends), len(row))]


@contextmanager
def _greedy(loaded: Loaded, generation: GenerationConfig) -> Iterator[Any]:
    """Plain greedy decoding for the model, with the checkpoint's own end tokens.

    generate() fills what is unset from the model's own settings, so these stand aside meanwhile: with them, the
    penalties and lengths that a checkpoint recommends for sampling would change greedy replies.
    """
    from transformers import GenerationConfig as Settings

    recommended = loaded.model.generation_config
    ends = _end_tokens(recommended.eos_token_id) | _end_tokens(loaded.tokenizer.eos_token_id)
    pads = (loaded.tokenizer.pad_token_id, recommended.pad_token_id, *sorted(ends), 0)
    settings = Settings(
        max_new_tokens=generation.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(ends) or None,
        pad_token_id=next(pad for pad in pads if pad is not None),
        use_cache=True,
    )
    loaded.model.generation_config = settings
    try:
        yield settings
    finally:
        loaded.model.generation_config = recommended


def _end_tokens(ids: int | list[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)
