"""Labels and contrasts from the unsteered model's own replies.

A conversation is ``positive`` if the model's reply at the run's generation settings is a hit and ``negative`` if it is
a miss. A reply is *on policy* if the model itself gave it to this conversation. What a file brings is used only where
the model gave no reply of that side, and only if the judge agrees with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mascing.schemas.conversation import Conversation, Label
from mascing.schemas.verdict import Outcome

Side = Literal["wanted", "unwanted"]

OUTCOME_OF: Mapping[Side, Outcome] = {"wanted": "hit", "unwanted": "miss"}
"""The verdict that a reply of each side must have."""

_LABEL_OF: Mapping[Outcome, Label] = {"hit": "positive", "miss": "negative"}


@dataclass(frozen=True)
class Said:
    """A judged reply of the unsteered model."""

    text: str
    outcome: Outcome


def with_own_replies(conversation: Conversation, said: Sequence[Said]) -> Conversation:
    """The conversation with the model's own label and replies; ``said`` starts with the reply that labels it.

    In the target set, a side without a reply of the model itself becomes None, and :func:`texts_for` says what may
    stand there. Without a label the file's replies stay, and without a label or a reply to learn from the conversation
    leaves the contrast. In other sets a hit becomes the wanted reply.

    A ``wanted`` that is replaced becomes the reference for judges that compare, unless there are references already.
    """
    hit, miss = _first(said, "hit"), _first(said, "miss")
    if conversation.set != "target":
        return _with_wanted(conversation, hit) if hit is not None else conversation
    label = _LABEL_OF.get(said[0].outcome)
    labelled = conversation.model_copy(update={"label": label, "contrast": bool(label and said[0].text.strip())})
    return _with_wanted(labelled, hit).model_copy(update={"unwanted": miss}) if label else labelled


def missing_side(own: Conversation) -> Side | None:
    """The side of a labelled target conversation for which the model itself gave no reply."""
    if own.set != "target" or own.label is None:
        return None
    return "unwanted" if own.label == "positive" and own.unwanted is None else _wanted_missing(own)


def texts_for(side: Side, brought: Conversation, wanted_reply: str | None, of_partner: str | None) -> tuple[str, ...]:
    """What may stand on a side without a reply of the model itself, in the order of preference.

    The file's own reply comes first, then the behaviour's ``wanted_reply``, then ``of_partner``: the model's reply to
    the matched conversation of the other class. The judge decides whether a text shows what its side says.
    """
    given = (getattr(brought, side), wanted_reply if side == "wanted" else None, of_partner)
    return tuple(dict.fromkeys(text for text in given if text and text.strip()))


def _wanted_missing(own: Conversation) -> Side | None:
    return "wanted" if own.label == "negative" and own.wanted is None else None


def _first(said: Sequence[Said], outcome: Outcome) -> str | None:
    return next((reply.text for reply in said if reply.outcome == outcome and reply.text.strip()), None)


def _with_wanted(conversation: Conversation, wanted: str | None) -> Conversation:
    references = conversation.references
    if not references and conversation.wanted is not None and conversation.wanted != wanted:
        references = (conversation.wanted,)
    return conversation.model_copy(update={"wanted": wanted, "references": references})
