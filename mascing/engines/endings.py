"""Where replies end, and what a reply is: the text before its end, without the thought that came first."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mascing.conversations.chat import Prompt
from mascing.conversations.rendering.turn_ends import turn_ends
from mascing.conversations.reply import Reply
from mascing.conversations.thoughts import ThoughtReader


@dataclass(frozen=True)
class Endings:
    """The ids of the tokens that end a reply, and end marks that are no single token of the tokenizer."""

    ids: frozenset[int]
    marks: tuple[str, ...]

    @classmethod
    def of(cls, tokenizer: Any, recommended: Any) -> "Endings":
        """The checkpoint's own end tokens; ``recommended`` are its settings of generation, as transformers reads them.

        A reply also ends where the chat template ends a turn: the files of a fine-tuned model may name only the end of
        text of its base model.
        """
        of_template = turn_ends(tokenizer)
        ids = _end_tokens(recommended.eos_token_id) | _end_tokens(tokenizer.eos_token_id) | of_template.ids
        return cls(frozenset(ids), tuple(of_template.marks))


def before_end(ends: Set[int], row: list[int]) -> list[int]:
    """The tokens before the first end token; the rest is padding, which need not be a special token."""
    return row[: next((position for position, token in enumerate(row) if token in ends), len(row))]


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


def recommended_in(folder: Path, trust_remote_code: bool) -> Any:
    """The settings of generation of a model folder, as transformers reads them when it loads the model."""
    from transformers import AutoConfig, GenerationConfig

    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:  # it has no such file
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        return GenerationConfig.from_model_config(config)


def _before(marks: Sequence[str], text: str) -> str:
    """The text before the first end mark that is no token of its own."""
    return text[: min((text.index(mark) for mark in marks if mark in text), default=len(text))]


def _end_tokens(ids: int | list[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)
