"""Which replies do not fit the token limit, and which conversations lose their oldest turns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mascing.conversations.chat import n_tokens
from mascing.judges.table import compares
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation

_TEMPLATE_BYTES = 1000
"""Room for what a chat template adds; a conversation that is shorter by more than this fits without being counted."""


class Lengths:
    """Counts what is too long; ``context`` is the number of tokens that the model can read, None if unknown."""

    def __init__(self, config: RunConfig, tokenizer: Any, context: int | None) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._limit = config.generation.max_new_tokens
        self._room = context - self._limit if context else None
        self._cut = 0
        self._sets: Counter[str] = Counter()
        self._too_long: dict[tuple[str, str], list[int]] = {}

    def add(self, conversations: Iterable[Conversation]) -> None:
        """Count conversations that can be used."""
        for conversation in conversations:
            self._sets[conversation.set] += 1
            for field, replies in self._expected(conversation).items():
                tokens = min(map(self._tokens, replies))
                if tokens > self._limit:
                    self._too_long.setdefault((conversation.set, field), []).append(tokens)
            self._cut += self._is_cut(conversation)

    def notes(self) -> Iterator[str]:
        """A sentence for each set with replies that do not fit, and one for conversations that are cut."""
        for (name, field), tokens in sorted(self._too_long.items()):
            yield (
                f"{name}: {len(tokens)} of {self._sets[name]} {field} are longer than generation.max_new_tokens "
                f"{self._limit}, so such a reply would be cut off: set it to {max(tokens) + 1} or more"
            )
        if self._cut:
            yield (
                f"{self._cut} conversations are longer than the {self._room} tokens that the model's context leaves "
                "beside the reply: their oldest turns are cut off"
            )

    def _expected(self, conversation: Conversation) -> dict[str, Sequence[str]]:
        """Texts that a reply has to hold: the wanted one, or the shortest of the accepted answers."""
        judge = self._config.behaviour.judge_of(conversation.set)
        if compares(judge) and conversation.accepted:
            return {"accepted answers": conversation.accepted}
        return {"`wanted` replies": [conversation.wanted]} if conversation.wanted else {}

    def _tokens(self, text: str) -> int:
        """The tokens of a text; 0 if it surely fits, since no token is shorter than a byte."""
        if len(text.encode("utf-8", "surrogatepass")) <= self._limit:
            return 0
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _is_cut(self, conversation: Conversation) -> bool:
        if self._room is None:
            return False
        size = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in conversation.messages)
        return size + _TEMPLATE_BYTES > self._room and n_tokens(self._tokenizer, conversation) > self._room
