"""What a judge is: a function from a conversation and a reply to a verdict, made by a factory from its options."""

from collections.abc import Awaitable, Callable

from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict

Judge = Callable[[Conversation, str], Awaitable[Verdict]]
"""``async (conversation, reply) -> Verdict``; many are awaited at once."""


def unscored() -> Verdict:
    """The verdict on an empty reply."""
    return Verdict(outcome="unscored", reason="the reply is empty")


def spaced(text: str) -> str:
    """The text with every run of white space as one space, and none around it."""
    return " ".join(text.split())
