"""What an engine reads of a conversation: its prompt, shortened so that the reply fits into the context as well."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from mascing.conversations.chat import Prompt, render, render_recent
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation


def rendered(
    tokenizer: Any, conversations: Sequence[Conversation], generation: GenerationConfig, context: int | None
) -> list[Prompt]:
    """The prompts of the conversations; ``context`` is the number of tokens that prompt and reply may have.

    Of one that is too long the oldest tokens are dropped, and of a live one the oldest turns after the system turn.
    One that is asked under many masks is rendered once. Raises DataError if a conversation cannot be rendered.
    """
    room = context - generation.max_new_tokens if context else None
    rendering = partial(render_recent if generation.turns == "live" else render, tokenizer, max_tokens=room)
    distinct = {(row.id, row.messages): row for row in conversations}
    prompts = {asked: rendering(row) for asked, row in distinct.items()}
    return [prompts[row.id, row.messages] for row in conversations]
