"""Tell a thought from the reply that follows it, by the marks of public model families.

A thought is opened by the generation prompt or by the reply. The marks may be special tokens, which decoding drops, so
they are looked for before.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

PAIRS = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM-4.5, MiniMax-M2, Hunyuan, SmolLM3, ERNIE-4.5, Nemotron, Granite
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),  # Kimi K3
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<mm:think>", "</mm:think>"),  # MiniMax-M3
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1
    ("Here is my thought process:", "Here is my response:"),  # Granite 3.2
    ("Here's my thought process:", "Here's my response:"),
)
"""What opens and closes a thought."""

WRAPS = (
    ("<answer>", "</answer>"),  # Hunyuan
    ("<response>", "</response>"),  # ERNIE-4.5, Granite 3.3
    ("<|begin_of_solution|>", "<|end_of_solution|>"),  # Sky-T1
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),  # Kimi K3
)
"""What stands around a reply that follows a thought."""

# gpt-oss, decoded without special tokens: the names of role and channel are glued to what is said.
_UNMARKED = re.compile(r"\s*analysis(?P<thought>.*?)(?:assistantfinal(?P<text>.*)|\Z)", re.DOTALL)
_UNMARKED_THOUGHT = re.compile(r"\s*analysis(?=[A-Z])")

# gpt-oss: a message is a header, which names its channel, and a content; the user reads the channel `final` alone.
CHANNEL, MESSAGE, FINAL = "<|channel|>", "<|message|>", "final"
_START = "<|start|>"
_ENDS_OF_MESSAGE = (_START, "<|end|>", "<|return|>", "<|call|>")

_MARKS = {CHANNEL, MESSAGE, *_ENDS_OF_MESSAGE, *(mark for pair in (*PAIRS, *WRAPS) for mark in pair)}
_END_OF_MESSAGE = re.compile("|".join(map(re.escape, _ENDS_OF_MESSAGE)))
_OWN_HEADER = re.compile(r"\s*(<\|start\|>)?\s*(assistant)?\s*(to=[^\n]*)?")
_CALL = re.compile(r"\s*to=\S")
# Marks that no prose contains, unlike the sentences of Granite 3.2.
_TAGS = tuple(pair for pair in PAIRS if not pair[1][0].isalpha())
_OPENINGS = (CHANNEL, *(opening for opening, _ in _TAGS))
_QUOTES = "`'\"‘’“”«»"
_OPENED_QUOTE = re.compile(rf"(^|[\s(\[{{:,;=*_])[{_QUOTES}]+\Z")
_FENCE = "```"

# Texts between a user turn and the reply that a reader keeps; nearly all prompts of a model have the same.
_LEAD_INS = 64


class Said(NamedTuple):
    """What a model said in one turn.

    ``thought`` is None if there is none or it is blank. ``closed`` is false if the turn ended within its thought;
    ``text`` is empty then.
    """

    thought: str | None
    text: str
    closed: bool = True


class ThoughtReader:
    """Reads what a tokenizer's models say; make one for many replies."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        special = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        self._special = sorted(filter(None, special), key=len, reverse=True)
        self._unmarked = [token for token in self._special if not any(token in mark for mark in _MARKS)]
        self._before = lru_cache(_LEAD_INS)(self._decoded)
        self._closing_alone = [pair for pair in PAIRS if self._knows(pair[1])]

    def read(self, prompt_ids: Sequence[int], reply_ids: Sequence[int], *, cut_off: bool = False) -> Said:
        """Tell thought and text of a reply apart.

        ``prompt_ids`` are the tokens between the final user turn's text and the reply, so that marks which a user wrote
        open nothing. A reply without a thought is decoded as ever. Marks within a reply that began without a thought
        are part of it, and so are quoted marks within a thought. A reply that was ``cut_off`` within the mark that
        opens a thought has no text yet.
        """
        said = self._read(prompt_ids, reply_ids)
        begun = said.text.strip()
        if cut_off and begun and any(opening.startswith(begun) for opening in _OPENINGS):
            return Said(said.thought, "", closed=False)
        return said

    def _read(self, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> Said:
        before, said = self._before(tuple(prompt_ids)), self._decoded(reply_ids)
        read = _apart(before, said, self._closing_alone)
        if read is not None:
            thought = _without(self._special, read.thought or "").strip()
            return Said(thought or None, _without(self._special, read.text).lstrip(), read.closed)
        text = str(self._tokenizer.decode(list(reply_ids), skip_special_tokens=True))
        return Said(None, _unwrapped(text) if any(closing in before for _, closing in PAIRS) else text)

    def _knows(self, mark: str) -> bool:
        """Whether the mark is a token, or the chat template writes it."""
        token = self._tokenizer.convert_tokens_to_ids(mark)
        is_token = token is not None and token != self._tokenizer.unk_token_id
        return is_token or mark in str(self._tokenizer.chat_template)

    def _decoded(self, ids: Sequence[int]) -> str:
        """The text of the tokens, in which the marks are the only special tokens."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return _without(self._unmarked, str(text))


def said_in(text: str) -> Said:
    """Tell thought and text apart in a given reply, of which no tokens are known."""
    return _apart("", text, _TAGS) or _unmarked_channels(text) or Said(None, text)


def _unmarked_channels(text: str) -> Said | None:
    """Read ``analysis...assistantfinal...``; None if the text does not begin so."""
    match = _UNMARKED.match(text)
    if match is None or (match.group("text") is None and not _UNMARKED_THOUGHT.match(text)):
        return None
    final = match.group("text")
    return Said(match.group("thought").strip() or None, (final or "").lstrip(), closed=final is not None)


def _apart(before: str, said: str, closing_alone: Iterable[tuple[str, str]]) -> Said | None:
    """Thought and text of a turn that follows the prompt's ``before``; None if it begins with no thought."""
    return _channels(before, said) or _pairs(before, said, closing_alone)


def _channels(before: str, said: str) -> Said | None:
    """Read a turn of several messages; None if it begins with none."""
    opened = before[before.rfind(CHANNEL) :] if CHANNEL in before else ""
    turn = said if _END_OF_MESSAGE.search(opened) else opened + said
    start, *messages = turn.split(CHANNEL)
    if not messages and before.rstrip().endswith(f"{_START}assistant") and _CALL.match(said):
        call = _END_OF_MESSAGE.split(said.partition(MESSAGE)[2])[0]
        return Said(_joined([call]), "", closed=False)
    if not messages or not _OWN_HEADER.fullmatch(start):
        return None
    thoughts: list[str] = []
    finals: list[str] = []
    for message in messages:
        header, mark, content = message.partition(MESSAGE)
        is_final = mark and header.split()[:1] == [FINAL]
        (finals if is_final else thoughts).append(_END_OF_MESSAGE.split(content)[0])
    return Said(_joined(thoughts), "\n\n".join(finals).lstrip(), closed=bool(finals))


def _pairs(before: str, said: str, closing_alone: Iterable[tuple[str, str]]) -> Said | None:
    """Read a turn that begins with thoughts between marks; None if it begins with none."""
    opened = next((pair for pair in PAIRS if before.rfind(pair[0]) > before.rfind(pair[1])), None)
    own, rest = _opening(said)
    pair, thoughts = opened or own, []
    if pair is None:
        alone = next(filter(None, (_ended_alone(pair, said) for pair in closing_alone)), None)
        if alone is None:
            return None
        thoughts.append(alone[0])
        pair, rest = _opening(alone[1])
    while pair is not None:
        ended = _ended(rest, pair[1])
        if ended is None:
            return Said(_joined([*thoughts, rest]), "", closed=False)
        thoughts.append(ended[0])
        pair, rest = _opening(ended[1])
    return Said(_joined(thoughts), _unwrapped(rest.lstrip()))


def _opening(text: str) -> tuple[tuple[str, str] | None, str]:
    """The pair whose mark opens the text, and what follows the mark; else None and the text."""
    start = text.lstrip()
    pair = next((pair for pair in PAIRS if start.startswith(pair[0])), None)
    return (pair, start.removeprefix(pair[0])) if pair else (None, text)


def _ended(text: str, closing: str) -> tuple[str, str] | None:
    """An opened thought and what follows it; None if it does not end."""
    # Many thoughts end within a code block that they never close.
    return _cut(text, closing, lambda head, tail: _in_quotes(head, tail) or _in_code(head)) or _cut(
        text, closing, _in_quotes
    )


def _ended_alone(pair: tuple[str, str], said: str) -> tuple[str, str] | None:
    """A thought that nothing opened, and what follows it; None if the reply has none."""
    ended = _cut(said, pair[1], _in_prose)
    return ended if ended is not None and _cut(ended[0], pair[0], _in_quotes) is None else None


def _cut(text: str, mark: str, quoted: Callable[[str, str], bool]) -> tuple[str, str] | None:
    """What stands before and after the first mark that is not ``quoted``; None if there is none."""
    for found in re.finditer(re.escape(mark), text):
        head, tail = text[: found.start()], text[found.end() :]
        if not quoted(head, tail):
            return head, tail
    return None


def _in_quotes(head: str, tail: str) -> bool:
    """Whether a quote opens before a mark and closes behind it."""
    return tail.startswith(tuple(_QUOTES)) and _OPENED_QUOTE.search(head) is not None


def _in_code(head: str) -> bool:
    return head.count(_FENCE) % 2 == 1


def _in_prose(head: str, tail: str) -> bool:
    """Whether a mark that nothing opened may be a word of a reply."""
    beside_quote = head.endswith(tuple(_QUOTES)) or tail.startswith(tuple(_QUOTES))
    return beside_quote or head[-1:] == tail[:1] == " " or _in_code(head)


def _unwrapped(text: str) -> str:
    for opening, closing in WRAPS:
        if text.lstrip().startswith(opening):
            return text.lstrip().removeprefix(opening).rstrip().removesuffix(closing).strip()
    return text


def _joined(thoughts: Sequence[str]) -> str | None:
    return "\n\n".join(filter(None, map(str.strip, thoughts))) or None


def _without(tokens: Sequence[str], text: str) -> str:
    for token in tokens:
        text = text.replace(token, "")
    return text
