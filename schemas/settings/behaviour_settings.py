"""The settings of a behaviour: its conversations, the judges of its sets, and when two conversations make a pair."""

from typing import Literal

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.catalogue.sources import ConversationsConfig, SetName
from mascing.schemas.settings.columns import ColumnsConfig
from mascing.schemas.settings.gate_settings import Text
from mascing.schemas.settings.judge_settings import JudgeConfig


class MatchingConfig(Frozen):
    """When a positive and a negative conversation are alike enough to form a pair; the contrast consists of pairs."""

    on: tuple[Literal["turns", "length", "topic"], ...] = Field(default=("turns", "length", "topic"), min_length=1)
    length_ratio: float = Field(
        default=1.5, ge=1, description="maximum ratio of characters of the longer conversation to the shorter"
    )
    topic_similarity: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="minimum cosine between the words of their last requests; not required within a group",
    )


BEHAVIOUR_NAME = r"^[a-z0-9][a-z0-9-]*$"


class BehaviourConfig(Frozen):
    """The behaviour to steer: its conversations and a judge for each kind of set."""

    name: str = Field(pattern=BEHAVIOUR_NAME)
    conversations: ConversationsConfig = Field(
        description="JSON Lines, JSON, CSV, TSV, Parquet or Arrow: a file, or a folder of files; or several sources"
    )
    columns: ColumnsConfig | None = Field(
        default=None, description="what the columns hold: a ready-made layout or a mapping; null tells it from the file"
    )
    target: JudgeConfig
    utility: JudgeConfig
    protected: JudgeConfig
    judges: dict[SetName, JudgeConfig] = Field(
        default_factory=dict, description="by the name of a set, a judge in place of that of its kind"
    )
    truth: str | None = Field(
        default=None, description="safetensors file with the known circuit `bias` [L, E], for testbeds"
    )
    max_characters: int = Field(default=100_000, gt=0, description="longer conversations are quarantined")
    wanted_reply: Text | None = Field(
        default=None, description="a reply that shows the behaviour, for conversations whose wanted reply is unknown"
    )
    matching: MatchingConfig | None = Field(
        default=MatchingConfig(), description="null turns matching off: the two classes stay as they are"
    )

    @model_validator(mode="after")
    def _sources_stand_by_themselves(self) -> "BehaviourConfig":
        if isinstance(self.conversations, str):
            return self
        if self.columns is not None:
            raise ValueError("columns: of several sources, each has columns of its own")
        names = [source.name for source in self.conversations]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"conversations: two sources are named {twice[0]}: give one another name")
        return self

    @property
    def origin(self) -> str:
        """Where the conversations come from, for a sentence."""
        if isinstance(self.conversations, str):
            return self.conversations
        return ", ".join(source.name for source in self.conversations)

    @property
    def all_judges(self) -> dict[str, JudgeConfig]:
        """The judge of each kind of set, by the kind, and those of single sets, by the set."""
        return {"target": self.target, "utility": self.utility, "protected": self.protected, **self.judges}

    def judge_of(self, set_name: str) -> JudgeConfig:
        """The judge of a set: its own, or else that of its kind."""
        judges = self.all_judges
        return judges.get(set_name) or judges[set_name.partition("/")[0]]
