"""One labelled conversation: the unit of every data set, split, trace and verdict."""

import difflib
import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from mascing.schemas.base import Frozen

Role = Literal["system", "user", "assistant"]
Label = Literal["positive", "negative"]
Split = Literal["train", "dev", "test"]

SET_PATTERN = re.compile(r"^(target|utility/[a-z0-9_-]+|protected/[a-z0-9_-]+)$")


class Message(Frozen):
    """One turn of a conversation."""

    role: Role
    content: str = Field(min_length=1)

    @field_validator("content")
    @classmethod
    def _not_blank(cls, content: str) -> str:
        if not content.strip():
            raise ValueError("the text of a turn is blank")
        return content


class Conversation(Frozen):
    """A conversation that ends with a user turn, with the replies it should and should not get if they are known.

    ``group_id`` names the goal or question the conversation is about; splits never cut a group.
    ``set`` says what the conversation measures: ``target``, ``utility/<name>`` or ``protected/<name>``.
    ``label`` is the side of the contrast in the target set: ``positive`` if the model shows the wanted behaviour by
    itself, ``negative`` if it does not. ``contrast`` is false if methods must not learn from the label because the
    conversation has no match in the other class; it is still judged. ``paraphrase`` rewords the final turn.
    ``references`` are the answers that a judge accepts, apart from ``wanted``, which is a whole reply. ``metadata``
    holds the columns of the user's file that have no meaning here.
    """

    id: str = Field(min_length=1)
    group_id: str = Field(min_length=1)
    set: str = "target"
    label: Label | None = None
    contrast: bool = True
    messages: tuple[Message, ...] = Field(min_length=1)
    wanted: str | None = None
    unwanted: str | None = None
    references: tuple[str, ...] = ()
    paraphrase: str | None = Field(default=None, pattern=r"\S")
    metadata: dict[str, str] = Field(default_factory=dict)

    @field_validator("set")
    @classmethod
    def _known_set(cls, name: str) -> str:
        if not SET_PATTERN.fullmatch(name):
            near = nearest_set(name)
            guess = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"set {name!r} is not target, utility/<name> or protected/<name>{guess}")
        return name

    @model_validator(mode="after")
    def _ends_with_user(self) -> "Conversation":
        if all(message.role != "user" for message in self.messages):
            raise ValueError("the conversation has no user turn")
        if self.messages[-1].role != "user":
            raise ValueError("the last turn must be the user's: the model's reply to it is what is judged")
        return self

    @property
    def accepted(self) -> tuple[str, ...]:
        """The answers that a comparing judge accepts: the references, or else the wanted reply."""
        return self.references or ((self.wanted,) if self.wanted is not None else ())

    @property
    def own_reply(self) -> str | None:
        """The model's reply without a mask, if known: `wanted` if the label is positive, `unwanted` if negative."""
        return {"positive": self.wanted, "negative": self.unwanted}[self.label] if self.label else None

    @property
    def turns(self) -> int:
        """Number of user turns."""
        return sum(message.role == "user" for message in self.messages)


def nearest_set(name: str) -> str | None:
    """The set that a misspelt name is likely to mean: ``Utility: Facts`` means ``utility/facts``."""
    kind, *rest = re.split(r"[^a-z0-9]+", name.strip().lower(), maxsplit=1)
    near = difflib.get_close_matches(kind, ("target", "utility", "protected"), n=1)
    if not near or near == ["target"]:
        return near[0] if near else None
    return f"{near[0]}/{re.sub(r'[^a-z0-9_-]+', '-', rest[0]).strip('-') if rest and rest[0] else '<name>'}"
