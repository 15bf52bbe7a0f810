"""A stage whose facts are a note, for tests of what all stages share."""

from typing import Literal

from pydantic import Field

from mascing.schemas.manifest import Facts, Manifest


class NotedFacts(Facts):
    version: Literal[1] = 1
    content: str = "x"
    sigma: dict[str, float] = Field(default_factory=dict)


class Noted(Manifest):
    stage: Literal["harvest"] = "harvest"
    facts: NotedFacts
