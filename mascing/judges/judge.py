"""The interface of a judge: a function from a conversation and a reply to a verdict.

A factory makes the judge from its options.
"""

from collections.abc import Awaitable, Callable

from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict

Judge = Callable[[Conversation, str], Awaitable[Verdict]]
"""``async (conversation, reply) -> Verdict``; many calls are awaited at once."""


def unscored() -> Verdict:
    """The verdict on an empty reply."""
    return Verdict(outcome="unscored", reason="the reply is empty")


def spaced(text: str) -> str:
    """The text with each run of white space replaced by one space, and stripped."""
    return " ".join(text.split())
