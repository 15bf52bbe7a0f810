"""The interface of a judge: a function from a conversation and a reply to a verdict.

A factory makes the judge from its options.
"""

from collections.abc import Awaitable, Callable

from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict

Judge = Callable[[Conversation, str], Awaitable[Verdict]]
"""``async (conversation, reply) -> Verdict``; many calls are awaited at once."""


def unscored(reason: str = "the reply is empty", final: bool = True) -> Verdict:
    """The verdict on a reply that cannot be read."""
    return Verdict(outcome="unscored", reason=reason, final=final)


def scored(hit: bool, reason: str, final: bool = True) -> Verdict:
    """The verdict ``hit`` or ``miss``."""
    return Verdict(outcome="hit" if hit else "miss", reason=reason, final=final)
