"""The card beside a mask that was imported from another format."""

from typing import Literal

from pydantic import JsonValue

from mascing.schemas.base import Frozen


class ImportCard(Frozen):
    """The origin of an imported mask. What it does was not measured, so ``judged`` is False.

    ``source`` holds the format, the file's name, the sha256 of its content, and how its layers were read.
    """

    model: str
    behaviour: str
    method: Literal["import"] = "import"
    source: dict[str, JsonValue]
    judged: Literal[False] = False
    mask_digest: str
