"""Conversations as the model sees them: token ids, and the span of the final user turn in them."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mascing.errors import DataError
from mascing.schemas.conversation import Conversation

# Templates that print today's date get this one, so that a conversation gives the same tokens every day.
TODAY = datetime(2026, 1, 1)


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation with its generation prompt, followed by the tokens of a reply if one was added.

    ``question`` is the token span [start, end) of the final user turn's text. ``prompt`` is the span from there to the
    reply: the turn's closing tokens and the generation prompt. A token that straddles a border belongs to the question.
    """

    conversation_id: str
    token_ids: tuple[int, ...]
    question: tuple[int, int]
    prompt: tuple[int, int]


def render(tokenizer: Any, conversation: Conversation, max_tokens: int | None = None) -> Prompt:
    """Apply the chat template and find the final user turn by character offsets.

    A prompt of more than ``max_tokens`` tokens loses the oldest ones (truncation from the left). Raises DataError if
    the tokenizer has no chat template, if the template refuses the conversation or hides its final user turn, or if
    truncation would cut into that turn.
    """
    text, (start, end) = _text_and_question(tokenizer, conversation)
    ids, first, last = _tokens(tokenizer, text, start, end, conversation.id)
    cut = max(0, len(ids) - max_tokens) if max_tokens is not None else 0
    if first < cut:
        raise DataError(
            f"conversation {conversation.id!r}: its final user turn does not fit into {max_tokens} tokens "
            f"(the turn with the generation prompt takes {len(ids) - first}); shorten it or raise the limit"
        )
    return Prompt(
        conversation_id=conversation.id,
        token_ids=tuple(ids[cut:]),
        question=(first - cut, last - cut),
        prompt=(last - cut, len(ids) - cut),
    )


def with_reply(tokenizer: Any, prompt: Prompt, reply: str, max_tokens: int | None = None) -> Prompt:
    """The prompt followed by the reply's tokens; the reply is cut where the whole exceeds ``max_tokens``."""
    ids = prompt.token_ids + tuple(tokenizer(reply, add_special_tokens=False)["input_ids"])
    return replace(prompt, token_ids=ids[: max(len(prompt.token_ids), max_tokens)] if max_tokens is not None else ids)


def _text_and_question(tokenizer: Any, conversation: Conversation) -> tuple[str, tuple[int, int]]:
    """The rendered text and the character span of the final user turn in it.

    A search for the turn's words could find them in an earlier turn, the system prompt or the generation prompt. So the
    conversation is rendered again with a stand-in for the turn. The text around the stand-in is the text around the
    turn, even if the template strips or wraps it.
    """
    stand_in = _stand_in(conversation)
    text = _apply_template(tokenizer, conversation, conversation.messages[-1].content)
    twin = _apply_template(tokenizer, conversation, stand_in)
    before, separator, after = twin.partition(stand_in)
    end = len(text) - len(after)
    if not separator or stand_in in after or end <= len(before) or not text.startswith(before) or text[end:] != after:
        raise DataError(
            f"conversation {conversation.id!r}: the chat template does not show the final user turn exactly once and "
            "apart from the rest, so its tokens cannot be identified; use another chat template for this model"
        )
    return text, (len(before), end)


def _stand_in(conversation: Conversation) -> str:
    """A word that occurs in no message of the conversation."""
    text = "\n".join(message.content for message in conversation.messages)
    word = "FINALUSERTURN"
    while word in text:
        word += "X"
    return word


def _apply_template(tokenizer: Any, conversation: Conversation, final_turn: str) -> str:
    from jinja2.exceptions import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise DataError("the tokenizer has no chat template: add chat_template.jinja to the model folder")
    messages = [{"role": message.role, "content": message.content} for message in conversation.messages[:-1]]
    messages.append({"role": "user", "content": final_turn})
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, strftime_now=TODAY.strftime
        )
    except TemplateError as error:
        raise DataError(f"conversation {conversation.id!r}: the chat template refuses it: {error}") from error
    return str(text)


def _tokens(tokenizer: Any, text: str, start: int, end: int, conversation_id: str) -> tuple[list[int], int, int]:
    """Token ids of the text and the span of those that overlap the characters [start, end)."""
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = list(encoded["input_ids"])
        inside = [i for i, (left, right) in enumerate(encoded["offset_mapping"]) if right > start and left < end]
        if not inside:
            raise DataError(f"conversation {conversation_id!r}: the tokenizer drops the text of its final user turn")
        return ids, inside[0], inside[-1] + 1
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if _decode(tokenizer, ids) != text:
        raise DataError(
            f"conversation {conversation_id!r}: the tokenizer gives no character offsets and does not decode to the "
            "same text, so the final user turn cannot be found; use a fast tokenizer (tokenizer.json)"
        )
    # A token overlaps the span if the text up to its end reaches past `start` and the text before it stops short of
    # `end`.
    return ids, _tokens_needed(tokenizer, ids, start + 1) - 1, _tokens_needed(tokenizer, ids, end)


def _tokens_needed(tokenizer: Any, ids: list[int], n_characters: int) -> int:
    """The least number of leading tokens that decode to at least ``n_characters`` characters."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(_decode(tokenizer, ids[:middle])) >= n_characters:
            high = middle
        else:
            low = middle + 1
    return low


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
