"""A judge's model in this process, by transformers: greedy answers in batches of prompts of like length.

Shape suffixes: B prompt, T token, V vocabulary, W asked word.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import torch

from mascing.conversations.rendering.turn_ends import turn_ends
from mascing.conversations.thoughts import said_in
from mascing.errors import ModelError
from mascing.judges.speakers.checkpoint import causal_model, context_of
from mascing.judges.speakers.marks import defused
from mascing.judges.speakers.speaker import Ask, Manner, Said
from mascing.models.checkpoints import one_line
from mascing.schemas.settings.judging_models import JudgingModel
from mascing.storage.object_storage import Storage


class LocalSpeaker:
    """Answers with a checkpoint, which is loaded when it is first asked."""

    def __init__(self, model: JudgingModel) -> None:
        self._config = model

    async def say(
        self, asked: Sequence[Ask], manner: Manner, storage: Storage | None
    ) -> AsyncIterator[tuple[int, Said]]:
        """Yield the place of each prompt and its answer, batch by batch; one longer than the context has none."""
        del storage  # an answer of this process costs nothing that storing it would save
        network, tokenizer = causal_model(self._config)
        rows = [_token_ids(tokenizer, ask, manner.generation_prompt) for ask in asked]
        context = context_of(network)
        fitting = []
        for place, row in enumerate(rows):
            if context is not None and len(row) + manner.max_tokens > context:
                reason = f"the judge's prompt of {len(row)} tokens is too long for its context of {context}"
                yield place, Said(failure=reason)
            else:
                fitting.append(place)
        fitting.sort(key=lambda place: -len(rows[place]))
        size = self._config.batch_size
        for start in range(0, len(fitting), size):
            batch = fitting[start : start + size]
            began = time.perf_counter()
            answers = list(_answers(network, tokenizer, [rows[place] for place in batch], manner))
            seconds = (time.perf_counter() - began) / len(batch)
            for place, (text, cut_off, shares) in zip(batch, answers, strict=True):
                yield place, Said(text, cut_off, None, seconds, shares)


def rendered(tokenizer: Any, ask: Ask, generation_prompt: bool) -> str:
    """The prompt as text. Raises ModelError if the chat template refuses the turns or leaves out the last of them."""
    marks = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    if ask.template:
        return ask.filled(marks)
    messages = [{**message, "content": defused(message["content"], marks)} for message in ask.messages]
    # Templates of models that also see pictures take the parts of a content; they show nothing of a plain text.
    parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
    why = "it leaves out the reply"
    for shaped in (messages, parts):
        try:
            text: str = tokenizer.apply_chat_template(shaped, tokenize=False, add_generation_prompt=generation_prompt)
        except Exception as error:  # noqa: BLE001 - a template raises what it likes
            why = one_line(error)
            continue
        if messages[-1]["content"].strip() in text:
            return text
    raise ModelError(f"the chat template of the judge's model cannot show a conversation with its reply: {why}")


def _token_ids(tokenizer: Any, ask: Ask, generation_prompt: bool) -> list[int]:
    text = rendered(tokenizer, ask, generation_prompt)
    begun = not ask.template or (tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token))
    ids: list[int] = tokenizer(text, add_special_tokens=not begun)["input_ids"]
    return ids


Answer = tuple[str, bool, Mapping[str, float] | None]


def _answers(network: Any, tokenizer: Any, rows: Sequence[Sequence[int]], manner: Manner) -> Iterator[Answer]:
    """Text, whether it was cut off, and the shares of the asked words, of each row."""
    ends = _ends(network, tokenizer)
    pad = next(token for token in (tokenizer.pad_token_id, *sorted(ends), 0) if token is not None)
    length = max(map(len, rows))
    ids_BT = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows], device=network.device)
    real_BT = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=network.device)
    with torch.inference_mode():
        if manner.words:
            positions_BT = (real_BT.cumsum(1) - 1).clamp(min=0)
            logits_BV = network(input_ids=ids_BT, attention_mask=real_BT, position_ids=positions_BT).logits[:, -1]
            yield from _shares(tokenizer, logits_BV, manner.words)
            return
        output_BT = network.generate(
            input_ids=ids_BT, attention_mask=real_BT, generation_config=_settings(manner.max_tokens, ends, pad)
        )
    for written in output_BT[:, length:].tolist():
        ended = next((place for place, token in enumerate(written) if token in ends), None)
        said = said_in(tokenizer.decode(written[:ended], skip_special_tokens=True))
        yield said.text, (ended is None and len(written) >= manner.max_tokens) or not said.closed, None


def _shares(tokenizer: Any, logits_BV: torch.Tensor, words: Sequence[str]) -> Iterator[Answer]:
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]
    for shares_W in logits_BV[:, ids].float().softmax(-1).tolist():
        shares = dict(zip(words, shares_W, strict=True))
        yield ", ".join(f"{word} {share:.4f}" for word, share in shares.items()), False, shares


def _settings(max_tokens: int, ends: set[int], pad: int) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=max_tokens, do_sample=False, eos_token_id=sorted(ends) or None, pad_token_id=pad, use_cache=True
    )


def _ends(network: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer."""
    recommended = network.generation_config.eos_token_id
    told = {recommended} if isinstance(recommended, int) else set(recommended or ())
    own = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    return told | own | (set(turn_ends(tokenizer).ids) if tokenizer.chat_template else set())
