"""Conversations as the model sees them: token ids, and the span of the final user turn in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, cast

from mascing.conversations.rendering.dropped_turns import refuse_dropped_turns
from mascing.conversations.rendering.final_turn import FinalTurn, find_final_turn
from mascing.conversations.rendering.lead_in import lead_in
from mascing.conversations.rendering.template import apply, turns_of
from mascing.conversations.rendering.tokens import tokenise
from mascing.errors import DataError
from mascing.schemas.conversation import Conversation, Message

Result = TypeVar("Result")


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation with its generation prompt, followed by the tokens of a reply if one was added.

    ``question`` is the token span [start, end) of the final user turn's text. ``prompt`` is the span from there to the
    reply: the turn's closing tokens, the generation prompt, and before a given reply what the template puts in front of
    one. A token that straddles a border belongs to the question or the reply.
    """

    conversation_id: str
    token_ids: tuple[int, ...]
    question: tuple[int, int]
    prompt: tuple[int, int]

    def fitted(self, max_tokens: int) -> "Prompt":
        """The prompt with the oldest tokens left out, then its reply cut at the end, so that ``max_tokens`` hold it.

        Raises DataError if the final user turn with what follows it up to the reply does not fit.
        """
        kept = self.without_oldest(max(0, self.prompt[1] - max_tokens))
        return replace(kept, token_ids=kept.token_ids[:max_tokens])

    def without_oldest(self, n_tokens: int) -> "Prompt":
        """The prompt without its first tokens. Raises DataError if that would cut into the final user turn."""
        start, end = self.question
        if n_tokens > start:
            raise DataError(
                f"{_about(self.conversation_id)}its final user turn does not fit into {self.prompt[1] - n_tokens} "
                f"tokens (the turn with the generation prompt takes {self.prompt[1] - start}); shorten it or raise the "
                "limit"
            )
        return Prompt(
            self.conversation_id,
            self.token_ids[n_tokens:],
            (start - n_tokens, end - n_tokens),
            (self.prompt[0] - n_tokens, self.prompt[1] - n_tokens),
        )


def render(tokenizer: Any, conversation: Conversation, max_tokens: int | None = None) -> Prompt:
    """Apply the chat template and find the final user turn by character offsets.

    A prompt of more than ``max_tokens`` tokens loses the oldest ones (truncation from the left). Raises DataError if
    the tokenizer has no chat template, if the template refuses the conversation, leaves out a turn or hides the final
    user turn, or if truncation would cut into that turn.
    """
    return _all_of(
        conversation,
        lambda: _fitted(_asked(tokenizer, conversation).prompt, max_tokens),
        _shown(tokenizer, conversation),
    )


def render_recent(tokenizer: Any, conversation: Conversation, max_tokens: int | None = None) -> Prompt:
    """Render as :func:`render` does, without the oldest turns after the system turn where all exceed ``max_tokens``.

    Turns are dropped up to the next user turn, so that a user still speaks first. Raises DataError if the system turn
    and the final user turn do not fit.
    """
    while True:
        prompt = render(tokenizer, conversation)
        if max_tokens is None or len(prompt.token_ids) <= max_tokens:
            return prompt
        shorter = _without_oldest_exchange(conversation.messages)
        if shorter is None:
            raise DataError(
                f"{_about(conversation.id)}its system turn and its final user turn take {len(prompt.token_ids)} tokens "
                f"together, and {max_tokens} fit into the context beside a reply: shorten them"
            )
        conversation = conversation.model_copy(update={"messages": shorter})


def _without_oldest_exchange(messages: Sequence[Message]) -> tuple[Message, ...] | None:
    """The turns without the oldest user turn and the replies to it; None if only one user turn is left."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    if len(users) == 1:
        return None
    kept = [message for message in messages[: users[1]] if message.role == "system"]
    return (*kept, *messages[users[1] :])


def n_tokens(tokenizer: Any, conversation: Conversation) -> int:
    """How many tokens the rendered conversation takes with its generation prompt. Raises DataError if it cannot be."""
    return len(tokenise(tokenizer, apply(tokenizer, turns_of(conversation.messages), generation_prompt=True)).ids)


def with_replies(tokenizer: Any, conversation: Conversation, replies: Sequence[str]) -> list[Prompt]:
    """The prompt followed by each of the replies, which stand where the template puts an assistant's reply.

    The tokens of the prompt stay those of :func:`render`. Blanks at the start of a reply are left out where the
    template puts its own. Raises DataError as :func:`render` does, and if the template shows no assistant turn.
    """
    return _all_of(
        conversation,
        lambda: _continuations(tokenizer, _asked(tokenizer, conversation), replies),
        _shown(tokenizer, conversation),
    )


def check(tokenizer: Any, conversation: Conversation, max_tokens: int | None = None) -> None:
    """Raise one DataError with all that keeps a conversation from being rendered for this tokenizer.

    It also renders the paraphrase, and the wanted and the unwanted reply. Only the tokenizer is needed, no weights
    (``mascing.models.loading.load_tokenizer``). ``max_tokens`` is the room for a prompt: the model's context without
    the tokens of the reply to generate.
    """
    replies = [reply for reply in (conversation.wanted, conversation.unwanted) if reply and reply.strip()]
    asked = cache(partial(_asked, tokenizer, conversation))  # a long conversation takes a while
    attempts: list[Callable[[], object]] = [
        _shown(tokenizer, conversation),
        lambda: _fitted(asked().prompt, max_tokens),
        lambda: _continuations(tokenizer, asked(), replies),
    ]
    if conversation.paraphrase is not None:
        reworded = (*conversation.messages[:-1], Message(role="user", content=conversation.paraphrase))
        paraphrased = conversation.model_copy(update={"messages": reworded})
        attempts.append(lambda: _fitted(_asked(tokenizer, paraphrased).prompt, max_tokens))
    _all_of(conversation, *attempts)


def _all_of(conversation: Conversation, first: Callable[[], Result], *others: Callable[[], object]) -> Result:
    """The result of the first; raises one DataError with the complaints of all, each once."""
    results: list[Any] = []
    problems: list[str] = []
    about = _about(conversation.id)
    for attempt in (first, *others):
        try:
            results.append(attempt())
        except DataError as error:
            problems.append(str(error).removeprefix(about))
    if problems:
        raise DataError(about + "; ".join(dict.fromkeys(problems)))
    return cast(Result, results[0])


def _about(conversation_id: str) -> str:
    return f"conversation {conversation_id!r}: "


def _shown(tokenizer: Any, conversation: Conversation) -> Callable[[], None]:
    return partial(refuse_dropped_turns, tokenizer, conversation.messages)


class _Asked(NamedTuple):
    """A rendered conversation with its generation prompt, as text and as tokens."""

    final: FinalTurn
    prompt: Prompt


def _asked(tokenizer: Any, conversation: Conversation) -> _Asked:
    final = find_final_turn(tokenizer, conversation.messages)
    tokens = tokenise(tokenizer, final.text)
    question = tokens.span(final.start, final.end)
    if question is None:
        raise DataError("the tokenizer drops the text of its final user turn")
    return _Asked(final, Prompt(conversation.id, tokens.ids, question, (question[1], len(tokens.ids))))


def _fitted(prompt: Prompt, max_tokens: int | None) -> Prompt:
    return prompt.fitted(max_tokens) if max_tokens is not None else prompt


def _continuations(tokenizer: Any, asked: _Asked, replies: Sequence[str]) -> list[Prompt]:
    final, prompt = asked
    before = lead_in(tokenizer, final)
    if before is None:
        raise DataError("the chat template shows no assistant turn, so a given reply has no place in it")
    return [_continued(tokenizer, prompt, final.text, before, reply) for reply in replies]


def _continued(tokenizer: Any, prompt: Prompt, text: str, before: str, reply: str) -> Prompt:
    """The prompt followed by the lead-in ``before`` and the reply.

    The whole is tokenised at once, as a blank before a word is part of the word's token. Where that would merge the
    prompt's last token with what follows, the rest is tokenised apart: the model is given the prompt's tokens as they
    are when it replies by itself.
    """
    if before[-1:].isspace():
        reply = reply.lstrip() or reply
    n_prompt, rest = len(prompt.token_ids), before + reply
    tokens, shift = tokenise(tokenizer, text + rest), 0
    start = len(text) + len(before)
    if tokens.ids[:n_prompt] != prompt.token_ids:
        tokens, shift, start = tokenise(tokenizer, rest), n_prompt, len(before)
    span = tokens.span(start, start + len(reply))
    if span is None:
        raise DataError("the tokenizer drops the text of its reply")
    ids = prompt.token_ids + tokens.ids[n_prompt - shift :]
    return Prompt(prompt.conversation_id, ids, prompt.question, (prompt.question[1], max(n_prompt, span[0] + shift)))
