"""What a finished stage left: its shards, its counts and its facts. Written last, never changed."""

from typing import Any

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen

FORMAT_VERSION = 1


class Shard(Frozen):
    """One complete file of a stage, named relative to the stage's prefix."""

    name: str
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Frozen):
    """The one commit point of a stage. Equal inputs give equal bytes: no clock, host or worker count in it."""

    stage: str
    name: str
    fingerprint: str
    format_version: int = FORMAT_VERSION
    inputs: dict[str, str] = Field(default_factory=dict, description="input name -> prefix of its manifest")
    rows_in: int = Field(ge=0)
    rows_out: int = Field(ge=0)
    rows_quarantined: int = Field(ge=0)
    shards: tuple[Shard, ...]
    facts: dict[str, Any] = Field(default_factory=dict, description="small stage-specific results, JSON values only")

    @property
    def prefix(self) -> str:
        """Folder of the stage's files under the storage URL."""
        return stage_prefix(self.stage, self.name, self.fingerprint)

    @model_validator(mode="after")
    def _counts_add_up(self) -> "Manifest":
        if self.rows_in != self.rows_out + self.rows_quarantined:
            raise ValueError(
                f"rows in ({self.rows_in}) != rows out ({self.rows_out}) + quarantined ({self.rows_quarantined})"
            )
        return self


def stage_prefix(stage: str, name: str, fingerprint: str) -> str:
    """``<stage>/<name>-<fingerprint>``, the one naming rule of stage outputs."""
    return f"{stage}/{name}-{fingerprint}"
