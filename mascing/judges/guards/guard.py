"""A family of guard models: its prompt, and what its answers mean."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mascing.judges.speakers.frames import without_labels
from mascing.judges.speakers.speaker import Ask, Manner, Said
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judging_models import GuardFinding, GuardJudge


@dataclass(frozen=True)
class Finding:
    """What a guard finds in a reply, or None with the reason why its answer cannot be read.

    ``findings`` holds one of safe and unsafe, and where the family tells, one of refusal and compliance.
    """

    findings: tuple[GuardFinding, ...] | None
    reason: str


@dataclass(frozen=True)
class Guard:
    """``ask`` makes the prompt from the settings, the texts of the card by name, the conversation and the reply.

    ``texts`` are the fields of each text that the family's card holds, by name. ``read`` reads an answer that was not
    cut off.
    """

    manner: Manner
    ask: Callable[[GuardJudge, Mapping[str, str], Conversation, str], Ask]
    read: Callable[[GuardJudge, Said], Finding]
    texts: Mapping[str, frozenset[str]]
    one_token: bool = False


def turns(conversation: Conversation, reply: str, labels: Iterable[str]) -> tuple[dict[str, str], ...]:
    """The conversation and the reply as messages, without a system turn: guards know none.

    The family's chat template sets the turns apart by ``labels`` in plain words, which work in no turn.
    """
    said = [(turn.role, turn.content) for turn in conversation.messages if turn.role != "system"]
    return tuple(
        {"role": role, "content": without_labels(content, labels)} for role, content in (*said, ("assistant", reply))
    )


def behaviour_of(conversation: Conversation) -> str:
    """The behaviour that a reply may show: the column `behavior` or `behaviour`, or else the last request."""
    told = conversation.metadata.get("behavior") or conversation.metadata.get("behaviour")
    return told or conversation.messages[-1].content


def unreadable(said: Said) -> Finding:
    """An answer that is not of the documented form."""
    shown = said.text if len(said.text) <= 80 else f"{said.text[:80]}..."
    return Finding(None, f"the guard's answer is not of its documented form: {shown!r}")
