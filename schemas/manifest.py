"""The record of a finished stage: its shards, counts and facts. It is written last and never changed."""

from typing import ClassVar

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen

FORMAT_VERSION = 3


class Shard(Frozen):
    """One complete file of a stage.

    ``path`` is where it is under the storage URL if it is a piece, which outputs share; None is ``<prefix>/<name>``.
    """

    name: str
    path: str | None = None
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Facts(Frozen):
    """Results of a stage beside its shards; schemas/facts.py defines a model for each stage.

    ``version`` is the version of the stage's recipe. It is raised whenever the stage's output for the same inputs
    changes, so that an upgraded installation does the work again.
    """

    version: int


class Manifest(Frozen):
    """The one commit point of a stage.

    Equal inputs give equal bytes: it holds no clock, host or worker count. schemas/finished.py defines the manifest
    class of each stage, with the type of its facts. ``remedy`` is what to do about one that cannot be read.
    """

    remedy: ClassVar[str] = "delete its folder and run again"

    stage: str
    name: str
    fingerprint: str
    format_version: int = FORMAT_VERSION
    inputs: dict[str, str] = Field(
        default_factory=dict, description="input name -> prefix of its manifest, or the content of what was read of it"
    )
    rows_in: int = Field(ge=0)
    rows_out: int = Field(ge=0)
    rows_quarantined: int = Field(ge=0)
    shards: tuple[Shard, ...]
    facts: Facts

    @property
    def prefix(self) -> str:
        """Folder of the stage's files under the storage URL."""
        return stage_prefix(self.stage, self.name, self.fingerprint)

    @classmethod
    def stage_name(cls) -> str:
        """The name of the stage of this manifest class."""
        return str(cls.model_fields["stage"].default)

    @classmethod
    def recipe_version(cls) -> int:
        """The version of the stage's recipe in this installation."""
        facts = cls.model_fields["facts"].annotation
        assert isinstance(facts, type)
        assert issubclass(facts, Facts)
        return int(facts.model_fields["version"].default)

    @model_validator(mode="after")
    def _counts_add_up(self) -> "Manifest":
        if self.rows_in != self.rows_out + self.rows_quarantined:
            raise ValueError(
                f"rows in ({self.rows_in}) != rows out ({self.rows_out}) + quarantined ({self.rows_quarantined})"
            )
        return self


def stage_prefix(stage: str, name: str, fingerprint: str) -> str:
    """``<stage>/<name>-<fingerprint>``, the prefix of a stage's output."""
    return f"{stage}/{name}-{fingerprint}"
