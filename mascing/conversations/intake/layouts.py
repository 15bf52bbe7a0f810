"""The ready-made layouts: by which columns each is known, and what its columns hold."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from mascing.conversations.intake.mapping import column, paths
from mascing.conversations.intake.raw import Row
from mascing.conversations.intake.rewriting import gsm8k, mctest, with_facts, with_options, writing_prompt
from mascing.errors import DataError
from mascing.schemas.settings.columns import Columns, ColumnsConfig, LayoutName

OWN = "your columns"
"""The name of a layout that a user mapped."""

_ANSWERS = "references|answers|answer"
_REPLIES = "response|completion|output|model_output|answer"
_SYSTEM = "{system|system_prompt|systemInstruction|system_instruction?}"
_CONTEXT = "{context|passage|article|story|document?}"
_REQUESTS = ("prompt", "instruction", "user_input", "query", "forbidden_prompt", "goal", "behavior")


def _as_it_is(row: Row) -> list[Row]:
    return [row]


@dataclass(frozen=True)
class Layout:
    """What the columns of a file hold.

    ``marks`` are sets of columns: a file that has all of one set has this layout. ``rewrite`` makes of a row the rows
    that ``columns`` read.
    """

    name: str
    columns: Columns
    marks: tuple[frozenset[str], ...] = ()
    rewrite: Callable[[Row], list[Row]] = _as_it_is


def _layout(
    name: LayoutName, marks: Sequence[str], rewrite: Callable[[Row], list[Row]] = _as_it_is, **columns: object
) -> Layout:
    return Layout(name, Columns.model_validate(columns), tuple(frozenset(mark.split()) for mark in marks), rewrite)


_NAMED = (
    _layout("sharegpt", ["conversations", "conversation", "dialog", "dialogue", "contents"],
            messages="conversations|conversation|dialog|dialogue|contents", system=_SYSTEM, id="id|conversation_id"),
    _layout("harmbench", ["Behavior BehaviorID"],
            user="{ContextString?}\n\n{Behavior}", id="BehaviorID", group_id="BehaviorID"),
    _layout("jailbreakbench", ["Goal Behavior Category"], user="Goal", group_id="Behavior"),
    _layout("jailbreakbench_artifact", ["goal prompt response jailbroken"],
            user="prompt", group_id="goal", reply="response"),
    # XSTest's labels are safe and unsafe, which are no classes of a contrast.
    _layout("xstest", ["prompt type focus", "prompt type note", "id_v2 prompt type"],
            user="prompt", id="id|id_v2", label=None),
    _layout("faitheval", ["qid question context answers", "question context answerKey", "question context choices"],
            with_options, user="{context?}\n\n{question}\n\n{options?}", id="qid|id", references=_ANSWERS),
    _layout("mquake", ["requested_rewrite questions answer", "questions answer answer_alias"],
            user="{questions.0}", paraphrase="questions.1", id="case_id", group_id="case_id",
            references=("answer", "answer_alias")),
    _layout("mquake_edited", [], with_facts,
            user="{facts}\n\nAnswer by these facts: {questions.0}", id="case_id", group_id="case_id",
            references=("new_answer", "new_answer_alias")),
    _layout("mctest", ["cells"], mctest, user="{story}\n\n{question}\n\n{options}",
            references="references"),
    _layout("gsm8k", [], gsm8k, user="question", references="number"),
    _layout("erotica_analysis", [], writing_prompt, user="request"),
    _layout("wildjailbreak", ["vanilla data_type"], user="adversarial|vanilla", reply="completion"),
    _layout("mt_bench", ["question_id turns"], user="turns.0", id=None, group_id="question_id"),
    _layout("mhj", ["message_0"], messages="message_*", group_id="question_id", id=None),
    _layout("mascing_jailbreak", ["conversation_history"],
            messages="conversation_history", group_id="question_id", id=None, reply="jailbreak_response"),
    _layout("openai_batch", ["custom_id body"],
            user="body.messages|body.input", system="{body.instructions?}", id="custom_id"),
    _layout("anthropic_batch", ["custom_id params"],
            messages="params.messages", system="{params.system?}", id="custom_id"),
    _layout("inspect_log", ["input target epoch"], user="input", id="{id}.{epoch}", references="target",
            reply="output.completion"),
    _layout("lm_eval_samples", ["doc_id arguments resps"],
            user="arguments.gen_args_0.arg_0|arguments.0.0", id="doc_id", references="target",
            reply="filtered_resps.0|resps.0.0"),
)  # fmt: skip

_GENERAL = (
    _layout("messages", ["messages"], messages="messages", system=_SYSTEM),
    _layout("multiple_choice", ["question choices", "question options", "question answer_options",
                                "question_stem choices"],
            with_options, user=f"{_CONTEXT}\n\n{{question|question_stem}}\n\n{{options}}", system=_SYSTEM,
            references=_ANSWERS),
    _layout("alpaca", ["instruction input", "instruction output", "instruction context"],
            user="{instruction}\n\n{input|context?}", system=_SYSTEM, reply="output|response"),
    _layout("prompts", [*_REQUESTS, "Prompt"],
            user="|".join([*_REQUESTS, "Prompt"]), system=_SYSTEM, reply=_REPLIES),
    _layout("questions", ["question", "Question", "input target", "input ideal"],
            user=f"{_CONTEXT}\n\n{{question|Question|input}}", system=_SYSTEM,
            references=f"{_ANSWERS}|target|ideal", reply="response|output"),
    _layout("anthropic_hh", ["chosen rejected", "transcript"], messages="chosen|transcript"),
)  # fmt: skip

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (*_NAMED, *_GENERAL)}
"""All ready-made layouts by name. Where several fit a file, those of named data sets go before the general ones."""

_FOREIGN = {
    frozenset({"custom_id", "response"}): "the output of an OpenAI batch, which has replies and no requests: give the "
    "batch's input file",
    frozenset({"judge", "outcome"}): "verdicts of `mascing judge`: give the file that was judged",
    frozenset({"train", "validation"}): "a description of a data set: give the file or folder with its rows",
}
"""Columns of files that hold no requests, and what those files are."""


def layout_of(columns: ColumnsConfig | None, sample: Sequence[Row]) -> Layout:
    """The layout that the config names or maps, or else the one that the columns show.

    Raises DataError if the columns of the sample do not show one, or lack what the config names.
    """
    names = list(dict.fromkeys(name for row in sample for name in row))
    if columns is None:
        return _told(names, sample)
    layout = LAYOUTS[columns] if isinstance(columns, str) else _changed(columns, names, sample)
    _refuse_missing(layout, sample, names)
    return layout


def _changed(columns: Columns, names: list[str], sample: Sequence[Row]) -> Layout:
    """The layout of a mapping: the user's own, or a ready-made one with the fields that the mapping names."""
    if columns.layout is None and (columns.messages or columns.user):
        return Layout(OWN, columns)
    layout = LAYOUTS[columns.layout] if columns.layout else _told(names, sample)
    given = {field: getattr(columns, field) for field in columns.model_fields_set - {"layout"}}
    return replace(layout, columns=layout.columns.model_copy(update=given))


def _told(names: list[str], sample: Sequence[Row]) -> Layout:
    if not names:
        return LAYOUTS["messages"]
    present = frozenset(names)
    for layouts in (_NAMED, _GENERAL):
        marks = [(mark, layout) for layout in layouts for mark in layout.marks if mark <= present]
        # Of two that fit, the one that needs all the other needs and more is right.
        fitting = {layout.name for mark, layout in marks if not any(mark < other for other, _ in marks)}
        if layouts is _NAMED and "messages" in present and not fitting <= {"inspect_log"}:
            continue
        if layouts is _NAMED and len(fitting) > 1:
            raise DataError(f"the columns fit {' and '.join(sorted(fitting))}: say which by `columns`")
        if fitting:
            return next(layout for layout in layouts if layout.name in fitting)
    for mark, what in _FOREIGN.items():
        if mark <= present:
            raise DataError(f"this is {what}")
    raise DataError(_unknown(names, sample))


def _unknown(names: list[str], sample: Sequence[Row]) -> str:
    # The column with the most text is the likeliest to hold the requests.
    text = max(names, key=lambda name: sum(len(row[name]) for row in sample if isinstance(row.get(name), str)))
    headless = " (does the file lack a line with their names?)" if any(len(name.split()) > 2 for name in names) else ""
    return (
        f"the columns show no known layout: they are {_listed(names)}{headless}. Say what they hold by `columns`, "
        f"for example columns: {{user: {text}}}, or name a layout: {', '.join(get_args(LayoutName))}"
    )


def _refuse_missing(layout: Layout, sample: Sequence[Row], names: list[str]) -> None:
    """Raise DataError for columns that the mapping reads and no row of the sample has."""
    if layout.columns.messages is None and layout.columns.user is None:
        raise DataError("columns: the requests are read from nowhere: set `messages` or `user` to a column")
    if not names or layout.rewrite is mctest:
        return
    rows = [rewritten for row in sample for rewritten in layout.rewrite(row)]
    for field, needed in paths(layout.columns).items():
        if layout.name != OWN and field not in ("messages", "user"):
            continue
        for options in needed:
            if not any(column(row, "|".join(options)) is not None for row in rows):
                near = difflib.get_close_matches(options[0], names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the file has {_listed(names)}"
                raise DataError(f"columns: no row has {' or '.join(options)}, which {field} is read from; {hint}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown
