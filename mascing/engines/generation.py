"""Generate replies, steered or not: batched, greedy or sampled, and reproducible for equal conversations.

Shape suffixes: B batch, T token, L MoE layer, E expert.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, render, render_recent
from mascing.conversations.rendering.turn_ends import turn_ends
from mascing.conversations.reply import Reply
from mascing.conversations.thoughts import ThoughtReader
from mascing.engines.sampling import RowSampler, refuse_nan
from mascing.masks.mask import Mask
from mascing.models.batching import Told, untold
from mascing.models.loading import Loaded
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer
from mascing.traces.recording import record


def generate(
    loaded: Loaded, conversations: Sequence[Conversation], mask: Mask | None, generation: GenerationConfig
) -> list[Reply]:
    """Generate one reply per conversation, in order; with ``mask`` None the model is not steered.

    To render the same conversations once for many masks, use :func:`prompts_of` and :func:`complete`. Raises DataError
    if a conversation cannot be rendered, MaskError or SteeringError if the mask cannot steer the model.
    """
    return complete(loaded, prompts_of(loaded, conversations, generation), mask, generation)


def prompts_of(loaded: Loaded, conversations: Sequence[Conversation], generation: GenerationConfig) -> list[Prompt]:
    """Render the conversations so that prompt and reply fit the context.

    Of one that is too long the oldest tokens are dropped, and of a live one the oldest turns after the system turn.
    """
    context = context_length(loaded)
    room = context - generation.max_new_tokens if context else None
    if generation.turns == "live":
        return [render_recent(loaded.tokenizer, conversation, room) for conversation in conversations]
    return [render(loaded.tokenizer, conversation, max_tokens=room) for conversation in conversations]


def context_length(loaded: Loaded) -> int | None:
    """The tokens that the model's context holds, if its config says so."""
    return getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)


def batches(prompts: Sequence[Prompt], size: int) -> Iterator[list[int]]:
    """Indices of the prompts in batches of ``size``, longest first."""
    lengths = [len(prompt.token_ids) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: (-lengths[index], index))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def complete(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    mask: Mask | None,
    generation: GenerationConfig,
    told: Told = untold,
) -> list[Reply]:
    """Generate one reply per prompt, in order: greedy at temperature 0, else sampled with the conversation id as seed.

    A batch holds ``batch_size`` prompts of neighbouring length, longest first. The prompts alone determine the batches,
    so the replies do not depend on where this runs or what runs beside it. ``told`` hears of each batch, of prompts and
    replies together.
    """
    made = dict(completions(loaded, prompts, [mask] * len(prompts), generation, told))
    return [made[index] for index in range(len(prompts))]


def completions(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    masks: Sequence[Mask | None],
    generation: GenerationConfig,
    told: Told = untold,
) -> Iterator[tuple[int, Reply]]:
    """Generate as :func:`complete` does, each prompt under its own mask; yields number and reply, batch by batch.

    One mask for all steers the model until the last reply is taken; where masks differ, each row of a batch has its
    own.
    """
    shared = all(mask is masks[0] for mask in masks)
    with steer(loaded.model, masks[0]) if shared and masks and masks[0] is not None else nullcontext():
        for batch in batches(prompts, generation.batch_size):
            with (
                decoding_settings(loaded, generation.max_new_tokens) as settings,
                nullcontext() if shared else steer(loaded.model, [masks[index] for index in batch]),
                torch.inference_mode(),
            ):
                said = _replies(loaded, [prompts[index] for index in batch], settings, generation.temperature, told)
            yield from zip(batch, said, strict=True)


def complete_recorded(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    masks: Sequence[Mask],
    generation: GenerationConfig,
    told: Told = untold,
) -> Iterator[dict[int, tuple[Reply, Tensor]]]:
    """Generate one reply per prompt, each under its own mask, and record its routing; yields batches by prompt number.

    The routing is float16 [T, L, E] on the host: the raw router logits, before the mask, from the final user turn up
    to the reply. It is recorded during the generation, without a further forward pass.
    """
    for batch in batches(prompts, generation.batch_size):
        rows = [prompts[index] for index in batch]
        with (
            decoding_settings(loaded, generation.max_new_tokens) as settings,
            steer(loaded.model, [masks[index] for index in batch]),
            record(loaded.model, selected=False) as trace,
            torch.inference_mode(),
        ):
            said = _replies(loaded, rows, settings, generation.temperature, told)
            z_BTLE = trace.take().to("cpu", torch.float16)
        end = max(len(row.token_ids) for row in rows)
        yield {
            # A view would keep the whole batch, replies and padding included, in memory.
            index: (reply, z_TLE[end - len(row.token_ids) + row.question[0] : end].clone())
            for index, reply, row, z_TLE in zip(batch, said, rows, z_BTLE, strict=True)
        }


def _replies(loaded: Loaded, prompts: Sequence[Prompt], settings: Any, temperature: float, told: Told) -> list[Reply]:
    rows = [prompt.token_ids for prompt in prompts]
    ids_BT, real_BT = left_padded(rows, settings.pad_token_id, loaded.model.device)
    sampler = [RowSampler([prompt.conversation_id for prompt in prompts], temperature)] if temperature > 0 else []
    output_BT = loaded.model.generate(
        input_ids=ids_BT,
        attention_mask=real_BT,
        generation_config=settings,
        logits_processor=[refuse_nan, *sampler],
        tokenizer=loaded.tokenizer,  # finds stop strings
    )
    ends = set(settings.eos_token_id or ())
    written = output_BT[:, ids_BT.shape[1] :].tolist()
    said = [before_end(ends, row) for row in written]
    ended = sum(len(ids) < len(row) for ids, row in zip(said, written, strict=True))  # by a token that is real too
    real = sum(map(len, rows)) + sum(map(len, said)) + ended
    told(real, output_BT.numel() - real)
    reader = ThoughtReader(loaded.tokenizer)
    marks, limit = settings.stop_strings or (), settings.max_new_tokens
    return [reply_of(reader, prompt, ids, marks, limit) for prompt, ids in zip(prompts, said, strict=True)]


def reply_of(reader: ThoughtReader, prompt: Prompt, ids: Sequence[int], marks: Sequence[str], limit: int) -> Reply:
    """The reply that these tokens are: up to the first of the ``marks``, cut off if they are ``limit`` and none is."""
    full = len(ids) == limit
    said = reader.read(prompt.token_ids[slice(*prompt.prompt)], ids, cut_off=full)
    thought, text = (_before(marks, part or "") for part in (said.thought, said.text))
    stopped = (thought, text) != (said.thought or "", said.text)
    return Reply(
        text,
        thought.strip() or None,
        cut_off=not stopped and full,
        tokens=len(ids),
        in_thought=not said.closed,
    )


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, [B, T]; padded on the left, because generation continues at the end."""
    length = max(len(row) for row in rows)
    ids = [[pad_id] * (length - len(row)) + list(row) for row in rows]
    real = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(real, device=device)


def before_end(ends: set[int], row: list[int]) -> list[int]:
    """The tokens before the first end token; the rest is padding, which need not be a special token."""
    return row[: next((position for position, token in enumerate(row) if token in ends), len(row))]


def _before(marks: Sequence[str], text: str) -> str:
    """The text before the first end mark that is no token of its own."""
    return text[: min((text.index(mark) for mark in marks if mark in text), default=len(text))]


@contextmanager
def decoding_settings(loaded: Loaded, max_new_tokens: int) -> Iterator[Any]:
    """Set the model to plain greedy decoding with the checkpoint's own end tokens, then restore its settings.

    A reply also ends where the chat template ends a turn: the files of a fine-tuned model may name only the end of text
    of its base model. generate() fills unset fields from the model's settings. The penalties and lengths that a
    checkpoint recommends for sampling would change greedy replies, so they are replaced within the context.
    """
    from transformers import GenerationConfig as Settings

    recommended = loaded.model.generation_config
    of_template = turn_ends(loaded.tokenizer)
    ends = _end_tokens(recommended.eos_token_id) | _end_tokens(loaded.tokenizer.eos_token_id) | of_template.ids
    pads = (loaded.tokenizer.pad_token_id, recommended.pad_token_id, *sorted(ends), 0)
    settings = Settings(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(ends) or None,
        pad_token_id=next(pad for pad in pads if pad is not None),
        use_cache=True,
        stop_strings=list(of_template.marks) or None,
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
