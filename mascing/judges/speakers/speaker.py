"""What a judge that says its verdict is asked, and what it says."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mascing.judges.speakers.frames import labels_of, without_labels
from mascing.judges.speakers.marks import defused
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Ask:
    """A prompt: ``messages`` for a chat template, or else a ``template`` that is the whole prompt.

    ``fields`` stand in the template in braces, and may hold what others wrote.
    """

    messages: tuple[Mapping[str, str], ...] = ()
    template: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def filled(self, marks: Iterable[str] = ()) -> str:
        """The template with its fields, in which no mark of a prompt and no label of this one works any more."""
        labels = labels_of(self.template)

        def filled_in(found: re.Match[str]) -> str:
            told = self.fields.get(found[1])
            return found[0] if told is None else without_labels(defused(told, marks), labels)

        return _FIELD.sub(filled_in, self.template)


@dataclass(frozen=True)
class Manner:
    """How a judge answers: ``max_tokens`` at most, each the likeliest.

    ``words`` asks for the probability of each as the first token. ``generation_prompt`` says whether the chat template
    is told to open an answer. ``schema`` is a JSON schema that an endpoint must keep to.
    """

    max_tokens: int
    words: tuple[str, ...] = ()
    generation_prompt: bool = True
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Said:
    """An answer. ``shares`` are the probabilities of the asked words among each other, or None if they are unknown.

    ``failure`` says why there is no whole answer; it may be had another time if ``passing``.
    """

    text: str = ""
    cut_off: bool = False
    cost: float | None = None
    seconds: float | None = None
    shares: Mapping[str, float] | None = None
    failure: str | None = None
    passing: bool = False

    def verdict(self, read: Verdict) -> Verdict:
        """The verdict that was read in the answer, with what was said and what it took; unscored without an answer."""
        if self.failure is not None:
            of_failure = Verdict(outcome="unscored", reason=self.failure, failed=self.passing)
            return of_failure.model_copy(update={"raw": self.text or None, "cost": self.cost, "seconds": self.seconds})
        return read.model_copy(update={"raw": self.text, "cost": self.cost, "seconds": self.seconds})


class Speaker(Protocol):
    """Answers prompts."""

    def say(self, asked: Sequence[Ask], manner: Manner, storage: Storage | None) -> AsyncIterator[tuple[int, Said]]:
        """Yield the place of each prompt and its answer, as they come: in any order, each once."""
        ...
