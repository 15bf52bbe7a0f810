"""One exchange with a client: its requests to the engine, all of them steered by what was decided at the first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from mascing.errors import MaskError
from mascing.serving.choice import MASK, TOKENS, Choice, Span
from mascing.serving.in_force import InForce
from mascing.serving.mask_table import Admission, MaskTable


@dataclass
class Entry:
    """One request to the engine: what steers it, and what the workers say that they steered.

    ``request_ids`` are those that the workers know, several if one prompt gets several replies. ``steered`` is tokens
    by depth of the MoE layer, None until it is proved. ``selected`` is, of each reply, how often each expert was
    selected, if that was asked.
    """

    admission: Admission | None = None
    request_ids: list[str] = field(default_factory=list)
    span: Span = field(default_factory=lambda: Span(0, None))
    prompt_tokens: int = 0
    reply_tokens: dict[int, int] = field(default_factory=dict)
    steered: dict[int, int] | None = None
    selected: Sequence[Mapping[int, list[int]]] = ()

    @property
    def lengths(self) -> dict[str, int]:
        """Of each request that the workers know, the tokens that were routed: prompt and reply without its last."""
        made = [self.reply_tokens.get(index, 0) for index in range(len(self.request_ids))]
        routed = [self.prompt_tokens + tokens - 1 if tokens else 0 for tokens in made]
        return dict(zip(self.request_ids, routed, strict=True))


class Exchange:
    """What one client asked for at once, such as the prompts of one HTTP request.

    The default mask may be another one by the time that the second prompt is admitted, so an exchange admits each
    choice once. ``asked`` is what the body of the HTTP request says, None if that is not known: a request to the engine
    that does not carry it comes from a route that lost it.
    """

    def __init__(self, asked: Choice | None = None) -> None:
        self.asked = asked
        self.entries: list[Entry] = []
        self._admitted: dict[Choice, tuple[MaskTable, Admission]] = {}
        self._users = 0

    @property
    def proved(self) -> bool:
        """Whether there were requests to the engine and all of them are done and proved."""
        return bool(self.entries) and all(entry.steered is not None for entry in self.entries)

    def admit(self, table: MaskTable, choice: Choice) -> Admission:
        """What steers a request. Raises MaskError for a mask that is not held or a choice that got lost."""
        check_passed_on(choice, self.asked)
        if choice not in self._admitted:
            self._admitted[choice] = table, table.admit(choice)
        return self._admitted[choice][1]

    def in_force(self, entries: Sequence[Entry]) -> InForce:
        """What steered these requests to the engine, which are proved."""
        admission = entries[0].admission
        assert admission is not None
        steered = Counter[int]()
        for entry in entries:
            steered.update(entry.steered)
        selected = [of_reply for entry in entries for of_reply in entry.selected]
        return InForce.of(admission, steered, _summed(selected) if admission.choice.selected else None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep what is admitted until the block is left; the last one to leave releases it.

        A client that goes away ends the HTTP request at once and the engine's work a moment later.
        """
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                for table, admission in self._admitted.values():
                    table.release(admission)
                self._admitted.clear()


def check_passed_on(choice: Choice, asked: Choice | None) -> None:
    """Raise MaskError if a request to the engine has another choice than the HTTP request that it comes from."""
    if asked is not None and choice != asked:
        raise MaskError(
            f"this way of asking does not pass {MASK} and {TOKENS} on to the model, so the reply would not be "
            "steered as they say; neither beam search nor /inference/v1/generate does: ask for a chat completion or a "
            "completion, or leave them out"
        )


def _summed(selected: Sequence[Mapping[int, list[int]]]) -> dict[int, list[int]]:
    """Selections of all replies, by depth of the MoE layer; one that was given up before it was computed has none."""
    counted = [of_reply for of_reply in selected if of_reply]
    layers = counted[0] if counted else {}
    return {layer: [sum(each) for each in zip(*(of[layer] for of in counted), strict=True)] for layer in layers}


EXCHANGE: ContextVar[Exchange | None] = ContextVar("mascing_exchange", default=None)
"""The HTTP request that is being answered."""
