"""An entry of the catalogue of behaviours: what a data set is, how its rows are read, and how replies are judged."""

import re
from typing import Annotated

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.config import GatesConfig
from mascing.schemas.settings.columns import ColumnsConfig
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.settings.sources import DatasetConfig, Name, Role, Text

_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")

GateLimit = Annotated[float, Field(ge=-1, le=1)]


class CatalogueEntry(Frozen):
    """What a run can take by name: a target, or a utility or protected set beside one.

    Of an entry of one's own, `name` and `judge` are needed, and `file` or `dataset`; the rest is for readers.
    """

    name: Name
    about: str = ""
    paper: str = Field(default="", description="citation")
    page: str = Field(default="", description="address of the data set's page")
    licence: str = ""
    gated: bool = Field(default=False, description="whether the hub asks for an account that accepted its conditions")
    dataset: DatasetConfig | None = Field(default=None, description="null: a file must be given")
    file: Text | None = Field(default=None, description="of an entry of one's own; beside the entry")
    unpinned: str = Field(default="", description="why no revision is given")
    checked: str = Field(default="", description="where the names of the columns were seen, or that they were not")
    columns: ColumnsConfig | None = None
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    rows: int | None = Field(default=None, gt=0)
    answers: tuple[Text, ...] = ()
    roles: tuple[Role, ...] = Field(default=("target",), min_length=1, description="what it can be in a run")
    judge: JudgeConfig
    gates: dict[str, GateLimit] = Field(default_factory=dict, description="limits that go with it; the strictest count")
    beside: tuple[Text, ...] = Field(default=(), description="entries that a run has beside it, unless it names others")
    opt_in: str = Field(default="", description="what an operator takes on by `opt_in: true`")
    guarded_by: tuple[Text, ...] = Field(default=(), description="protected entries that no run can leave out")

    @property
    def commit(self) -> str | None:
        """The commit that its rows are read at; None if they are the latest ones."""
        if self.dataset is None:
            return None
        found = _COMMIT.search(" ".join((self.dataset.revision or "", *self.dataset.files)))
        return found.group() if found else None

    @model_validator(mode="after")
    def _sets_gates_that_there_are(self) -> "CatalogueEntry":
        if unknown := sorted(self.gates.keys() - GatesConfig.model_fields.keys()):
            raise ValueError(f"gates: there is no {unknown[0]}; there are {', '.join(GatesConfig.model_fields)}")
        return self


class Companion(Frozen):
    """An entry that a run takes, with what the run changes of it."""

    catalogue: Text = Field(description="its name, or the path of an entry of one's own")
    file: Text | None = Field(default=None, description="a local copy of its rows")
    columns: ColumnsConfig | None = Field(default=None, description="in place of the entry's")
    revision: Text | None = Field(default=None, description="another commit of the hub")
    rows: int | None = Field(default=None, gt=0, description="in place of the entry's")


class Chosen(Companion):
    """What `behaviour` of a run says beside its own settings, if it names an entry of the catalogue as its target."""

    beside: tuple[Companion, ...] | None = Field(
        default=None, description="utility and protected entries; null takes the target's own"
    )
    opt_in: bool = Field(default=False, description="confirms what the entry asks of an operator")
