"""How the columns of a user's file become conversations: a ready-made layout by name, or a mapping of their own."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from mascing.schemas.base import Frozen

LayoutName = Literal[
    "messages",
    "sharegpt",
    "prompts",
    "questions",
    "multiple_choice",
    "alpaca",
    "anthropic_hh",
    "harmbench",
    "jailbreakbench",
    "jailbreakbench_artifact",
    "xstest",
    "faitheval",
    "mquake",
    "mquake_edited",
    "mctest",
    "gsm8k",
    "erotica_analysis",
    "wildjailbreak",
    "mt_bench",
    "mhj",
    "mascing_jailbreak",
    "openai_batch",
    "anthropic_batch",
    "inspect_log",
    "lm_eval_samples",
]
"""The ready-made layouts; mascing.conversations.intake.layouts says what each is."""

Column = Annotated[str, Field(pattern=r"\S")]


class Columns(Frozen):
    """Which column holds what. Columns that are named nowhere are kept as metadata.

    A column is given by its name; ``body.messages`` and ``questions.0`` look inside a column, ``turn_*`` collects the
    columns turn_0, turn_1, …, and ``a|b`` is a, or b where a is empty. A value with braces is a text in which
    ``{column}`` stands for the column's text and ``{column?}`` for that of a column that may be empty. Null means that
    the file has no such column, even if one has this name. What the mapping does not name is as in ``layout``, or in
    the layout that the file shows, if the mapping names neither `messages` nor `user`.
    """

    layout: LayoutName | None = Field(default=None, description="the ready-made layout that the mapping changes")
    messages: Column | None = Field(default=None, description="the turns, in any of the usual layouts")
    user: Column | None = Field(default=None, description="the only user turn, in place of `messages`")
    system: Column | None = Field(default=None, description="a system turn before the others: text with {columns}")
    id: Column | None = Field(default="id", description="else a hash of the row")
    group_id: Column | None = Field(default="group_id|goal", description="else a hash of the first request")
    set: Column | None = Field(default="{set?}", description="text with {columns}; else target")
    label: Column | None = Field(default="{label?}", description="text with {columns}")
    wanted: Column | None = "wanted"
    unwanted: Column | None = "unwanted"
    references: Column | tuple[Column, ...] | None = Field(default="references", description="accepted answers")
    paraphrase: Column | None = "paraphrase"
    reply: Column | None = Field(default=None, description="a reply of some model, kept as metadata `reply`")


def _tag(value: Any) -> str:
    return "name" if isinstance(value, str) else "mapping"


ColumnsConfig = Annotated[
    Annotated[LayoutName, Tag("name")] | Annotated[Columns, Tag("mapping")],
    Discriminator(_tag),
]
"""A layout's name, or a mapping."""
