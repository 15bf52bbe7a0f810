"""A generated reply, apart from the thought that went before it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """What a model said in one turn.

    ``text`` is what the user reads and what is judged. ``thought`` is None if the model wrote none. ``cut_off`` is true
    if the token limit ended the generation, in the thought or in the text. ``tokens`` counts all generated tokens
    before the end of the turn. ``in_thought`` is true if the turn ended within its thought, cut off or not; ``text`` is
    empty then.
    """

    text: str
    thought: str | None = None
    cut_off: bool = False
    tokens: int = 0
    in_thought: bool = False
