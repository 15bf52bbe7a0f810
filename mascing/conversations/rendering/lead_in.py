"""What a chat template puts between its generation prompt and the text of an assistant's reply."""

import re
from typing import Any

from mascing.conversations.rendering.final_turn import FinalTurn
from mascing.conversations.rendering.template import Turn, apply, stand_in, thoughtful_turn, turn

# The tags that open a thought in public templates: <think>, <seed:think>, [THINK], <thought>, <reasoning> ...
_OPENING = re.compile(r"([<\[])([\w:]*(?:think|thought|reason)\w*)([>\]])", re.IGNORECASE)


def lead_in(tokenizer: Any, final: FinalTurn) -> str | None:
    r"""The text between the generation prompt and a given reply, so that the reply stands where the template puts one.

    1. The conversation is rendered with a stand-in for the reply. If what follows the user's turn begins with the
       generation prompt, the lead-in is the rest: a blank, ``<|channel|>final<|message|>``, an empty thought.
    2. Else the same is tried with a thought beside the reply, whose text is then taken out. This gives the family's own
       way to end a thought that its generation prompt opens.
    3. Else the template shows earlier replies in another way than it asks for new ones. The reply then follows the
       generation prompt directly, without the part of the prompt that both ways share.

    A thought that is open after all of this is closed empty: ``<think>\n`` becomes ``<think>\n\n</think>\n\n``, and
    ``<think>`` becomes ``<think></think>``. Returns None if the template shows no assistant turn. Raises DataError if
    the template refuses one.
    """
    prompt = final.generation_prompt
    texts = [turn["content"] for turn in final.marked.turns]
    reply = stand_in([*texts, final.text], "GIVENREPLY")
    thought = f"{reply}THOUGHT"
    plain = _head(tokenizer, final, turn("assistant", reply), reply)
    if plain is None:
        return None
    if plain.startswith(prompt):
        return _closed(prompt, plain.removeprefix(prompt))
    reasoned = thoughtful_turn(thought, f"{reply}.")
    thoughtful = _head(tokenizer, final, reasoned, f"{reply}.")
    if thoughtful is not None and thoughtful.startswith(prompt) and thought in thoughtful:
        return _closed(prompt, thoughtful.removeprefix(prompt).replace(thought, ""))
    return _closed(prompt, _rest(prompt, plain))


def _head(tokenizer: Any, final: FinalTurn, assistant: Turn, reply: str) -> str | None:
    """What the template puts between the words of the final user turn and those of a reply to it."""
    parts = final.marked.split(apply(tokenizer, [*final.marked.turns, assistant], generation_prompt=False))
    if parts is None or reply not in parts[2]:
        return None
    return parts[2].partition(reply)[0]


def _rest(prompt: str, head: str) -> str:
    """What follows in ``head`` where it parts from the prompt, if that can follow the prompt at all."""
    differing = (at for at, pair in enumerate(zip(prompt, head, strict=False)) if pair[0] != pair[1])
    shared = prompt[: next(differing, min(len(prompt), len(head)))]
    # A tag is shared as a whole or not at all: <think> and </think> share nothing.
    for bracket, closing in ("<>", "[]"):
        if shared.rfind(bracket) > shared.rfind(closing):
            shared = shared[: shared.rfind(bracket)]
    own, others = prompt.removeprefix(shared), head.removeprefix(shared)
    opened = _open_thought(own)
    if opened is not None:
        return others if others.lstrip().startswith(_end_of(opened)) else ""
    return "" if own.strip() else others.lstrip()


def _closed(prompt: str, lead_in: str) -> str:
    """The lead-in with an empty end to a thought that is still open after it."""
    opened = _open_thought(prompt + lead_in)
    if opened is None:
        return lead_in
    blank = "\n" if "\n" in (prompt + lead_in)[opened.end() :] else ""
    return f"{lead_in}{blank}{_end_of(opened)}{blank * 2}"


def _open_thought(text: str) -> re.Match[str] | None:
    """The last tag that opens a thought, if nothing closes it."""
    opened = max(_OPENING.finditer(text), key=re.Match.start, default=None)
    return opened if opened is not None and _end_of(opened) not in text[opened.end() :] else None


def _end_of(opened: re.Match[str]) -> str:
    bracket, name, closing = opened.groups()
    return f"{bracket}/{name}{closing}"
