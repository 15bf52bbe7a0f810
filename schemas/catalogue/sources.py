"""Where the conversations of a run come from, when they are not one file or folder: data sets and several files."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.settings.columns import ColumnsConfig

FILE_FORMATS = ("csv", "json", "parquet", "text")
"""Names under which `datasets` reads files; its other builders run code or read pickles."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
SetName = Annotated[str, Field(pattern=r"^(target|utility/[a-z0-9_-]+|protected/[a-z0-9_-]+)$")]
Text = Annotated[str, Field(pattern=r"\S")]


class DatasetConfig(Frozen):
    """What `datasets` loads: a data set of the hub by its name, or a format with the addresses of its files."""

    path: str = Field(
        pattern=rf"^([A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*|{'|'.join(FILE_FORMATS)})$",
        description="`owner/name` on the hub, or a format of `files`: csv, json, parquet, text",
    )
    config: Text | None = Field(default=None, description="the configuration of a data set that has several")
    split: Text = Field(default="train", description="a split, or a part of one: train[:1000]")
    revision: Text | None = Field(default=None, description="a commit of the hub; null reads the latest one")
    files: tuple[Text, ...] = Field(default=(), description="names of files in the data set, or addresses of files")

    @model_validator(mode="after")
    def _a_format_has_files(self) -> "DatasetConfig":
        if self.path in FILE_FORMATS and not self.files:
            raise ValueError(f"{self.path} is a format: give the addresses of its `files`")
        return self


class SourceConfig(Frozen):
    """One of the sources of a run: its rows, how they are read, and the set that they make."""

    name: Name = Field(description="goes before the ids of its conversations")
    file: Text | None = Field(default=None, description="a file or a folder, or a URL of one")
    dataset: DatasetConfig | None = Field(default=None, description="in its place, what `datasets` loads")
    columns: ColumnsConfig | None = Field(default=None, description="as `behaviour.columns`")
    set: SetName | None = Field(default=None, description="the set of all its rows; null as the rows say")
    where: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="values that a column must have; other rows are not read"
    )
    rows: int | None = Field(default=None, gt=0, description="at most so many rows, chosen by a hash of each")
    answers: tuple[Text, ...] = Field(default=(), description="`references` of every row")

    @model_validator(mode="after")
    def _is_read_from_one_place(self) -> "SourceConfig":
        if (self.file is None) == (self.dataset is None):
            raise ValueError(f"{self.name}: give either a `file` or a `dataset`")
        return self


def _tag(value: Any) -> str:
    return "sources" if isinstance(value, list | tuple) else "file"


ConversationsConfig = Annotated[
    Annotated[str, Field(min_length=1), Tag("file")]
    | Annotated[tuple[SourceConfig, ...], Field(min_length=1), Tag("sources")],
    Discriminator(_tag),
]
"""A file or folder, or several sources."""

Role = Literal["target", "utility", "protected"]
"""The kinds of sets."""
