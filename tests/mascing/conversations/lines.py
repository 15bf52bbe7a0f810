"""Read lines of JSON as conversations."""

from collections.abc import Iterable

from mascing.conversations.intake.formats import Format, json_lines
from mascing.conversations.intake.reader import Part, Reading, read_all
from mascing.conversations.intake.rows import Quarantined
from mascing.schemas.conversation import Conversation


def parse_conversations(lines: Iterable[str], max_characters: int) -> tuple[list[Conversation], list[Quarantined]]:
    """Return the usable conversations in order, and every other row with the reasons; blank lines are skipped.

    ``max_characters`` bounds the text of all turns of a conversation together. If rows share an id, the first is used.
    Raises DataError if no row is usable.
    """
    kept = list(lines)
    read = read_all(Reading([Part([Format("JSON Lines", "line", lambda: json_lines(kept))])], max_characters))
    return read.conversations, read.quarantined


def decode_lines(data: bytes) -> list[str]:
    """Split the bytes of a JSON Lines file into lines; bytes that are not UTF-8 spoil only their own line."""
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
