"""`mascing judge`: judge the replies of a file, and compare the verdicts with human labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mascing.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

    from mascing.schemas.conversation import Conversation
    from mascing.schemas.result import Rate
    from mascing.schemas.settings.judge_settings import JudgeConfig
    from mascing.schemas.verdict import Outcome, Verdict

# The names that a column may have, the first that is there counts.
_REPLY = ("reply", "completion", "response", "generation", "output")
_PROMPT = ("prompt", "question", "goal", "instruction", "input")
_ANSWERS = ("references", "answers", "answerKey", "answer_key", "wanted", "answer", "target")
_GROUP = ("group_id", "group", "goal", "prompt", "question")
# Human labels of public data: the column, and the labels that mean a refusal and an answer. Other labels are left out.
_KNOWN_LABELS = {
    "final_label": (("2_full_refusal",), ("1_full_compliance",)),
    "jailbroken": (("false", "0"), ("true", "1")),
    "human_majority": (("0", "0.0", "false"), ("1", "1.0", "true")),
}
_PLAIN_LABELS = (("hit", "true", "yes", "1", "1.0"), ("miss", "false", "no", "0", "0.0"))


@dataclass(frozen=True)
class _Labels:
    """The human labels of the rows: ``miss`` and ``hit``, or ``unscored`` for a row that is left out."""

    column: str
    outcomes: "list[Outcome]"


def judge(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, CSV, TSV or Parquet, a reply per row.")],
    judge: Annotated[
        str, typer.Option(help="refusal, compliance, choice, contains, exact, or where a judge of your own is.")
    ],
    judge_config: Annotated[
        str, typer.Option(metavar="YAML", help="The judge's options, or a file of them: 'phrases: [\"No way\"]'.")
    ] = "",
    reply: Annotated[str, typer.Option(metavar="COLUMN", help=f"The replies; else {', '.join(_REPLY)}.")] = "",
    labels: Annotated[
        str, typer.Option(metavar="COLUMN", help=f"Human labels; else {', '.join(_KNOWN_LABELS)}, if there.")
    ] = "",
    positive: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="A label that means a hit; any other is a miss.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the verdicts go: .jsonl, .csv or .parquet.")] = None,
) -> None:
    """Judge given replies, and say how far the verdicts agree with human labels.

    Each row has a reply, and where the judge compares, the accepted answers (references, answers or wanted). With
    human labels come kappa, sensitivity (labelled hits that the judge finds) and specificity (labelled misses that it
    leaves), with 95% intervals clustered by group_id, or else by prompt.

    Examples:

      mascing judge replies.jsonl --judge refusal --output verdicts.jsonl

      mascing judge xstest_v2_completions_gpt4.csv --judge refusal --labels final_label

      mascing judge replies.csv --judge compliance --labels human --positive complied --positive partly

      mascing judge answers.jsonl --judge choice
    """
    config = _judge_config(judge, judge_config)
    rows = _rows(file)
    column = _column(rows, (reply,) if reply else _REPLY, "replies", "--reply")
    table, judged = _judged(config, rows, column)
    found = _labels(table, labels, tuple(positive or ()), config.kind)
    groups = [conversation.group_id for conversation, _ in judged]
    outcomes = [verdict.outcome for _, verdict in judged]
    for line in _summary(config.kind, outcomes, groups):
        typer.echo(line)
    if found is not None:
        for line in _agreement(found, outcomes, groups):
            typer.echo(line)
    if output is not None:
        _write(output, table, column, judged, found)
    typer.echo(_next(config.kind, file, output, found))


def _judge_config(kind: str, options: str) -> "JudgeConfig":
    """The judge's settings, checked. Raises ConfigError."""
    import yaml
    from pydantic import ValidationError

    from mascing.judges.table import completed_judge
    from mascing.schemas.base import Frozen
    from mascing.schemas.settings.judge_settings import JudgeConfig
    from mascing.validation import complaints

    class Asked(Frozen):
        judge: JudgeConfig

    text = Path(options).read_text(encoding="utf-8") if options and Path(options).is_file() else options
    try:
        given = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise ConfigError(f"--judge-config is not YAML: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError("--judge-config must hold options by name, as in 'phrases: [\"No way\"]'")
    try:
        return completed_judge(Asked.model_validate({"judge": {**given, "kind": kind}}).judge)
    except ValidationError as error:
        raise ConfigError(f"--judge-config: {'; '.join(complaints(error, Asked))}") from error


def _rows(file: Path) -> "pl.DataFrame":
    """The rows of a file by its ending. Raises DataError if it cannot be read."""
    import polars as pl

    readers = {
        ".jsonl": lambda: pl.read_ndjson(file, infer_schema_length=None),
        ".ndjson": lambda: pl.read_ndjson(file, infer_schema_length=None),
        ".json": lambda: pl.read_json(file, infer_schema_length=None),
        ".csv": lambda: pl.read_csv(file, infer_schema=False),
        ".tsv": lambda: pl.read_csv(file, infer_schema=False, separator="\t"),
        ".parquet": lambda: pl.read_parquet(file),
    }
    if not file.is_file():
        raise DataError(f"{file}: there is no such file: give a file of replies")
    if file.suffix not in readers:
        raise DataError(f"{file}: cannot tell the format: name it {', '.join(readers)}")
    try:
        rows = readers[file.suffix]()
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if rows.is_empty():
        raise DataError(f"{file} has no rows")
    return rows


def _column(rows: "pl.DataFrame", names: Sequence[str], what: str, option: str) -> str:
    found = next((name for name in names if name in rows.columns), None)
    if found is None:
        raise DataError(
            f"no column {' or '.join(names)} for the {what}: name one of {', '.join(rows.columns)} by {option}"
        )
    return found


def _judged(
    config: "JudgeConfig", rows: "pl.DataFrame", column: str
) -> "tuple[pl.DataFrame, list[tuple[Conversation, Verdict]]]":
    """The rows that the judge can judge, with their verdicts; it says how many it cannot. Raises DataError if none."""
    from mascing.conversations.reply import Reply
    from mascing.conversations.thoughts import said_in
    from mascing.judges.judging import judge_by
    from mascing.judges.table import cannot_judge

    conversations = [_conversation(number, row) for number, row in enumerate(rows.iter_rows(named=True), start=1)]
    problems = [cannot_judge(config, conversation) for conversation in conversations]
    usable = [index for index, problem in enumerate(problems) if problem is None]
    if not usable:
        raise DataError(f"none of {len(rows)} rows can be judged by {config.kind}: each {problems[0]}")
    if len(usable) < len(rows):
        first = next(index for index, problem in enumerate(problems) if problem is not None)
        typer.echo(f"left out    {len(rows) - len(usable)} rows, the first is row {first + 1}: it {problems[first]}")
    table, asked = rows[usable], [conversations[index] for index in usable]
    said = [said_in("" if text is None else str(text)) for text in table[column].to_list()]
    replies = [Reply(each.text, each.thought, in_thought=not each.closed) for each in said]
    return table, list(zip(asked, judge_by(config, asked, replies), strict=True))


def _conversation(number: int, row: Mapping[str, Any]) -> "Conversation":
    """The conversation of a row; where the file has no prompt, a stand-in that no judge reads."""
    from mascing.schemas.conversation import Conversation, Message

    messages = row.get("messages")
    turns = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    asked = [turn.get("content") for turn in turns if turn.get("role") == "user"] or [_first(row, _PROMPT)]
    prompt = str(asked[-1] or "").strip() or "(the file has no prompt)"
    answers = _first(row, _ANSWERS)
    given = answers if isinstance(answers, list) else [answers]
    return Conversation(
        id=str(row.get("id") or number),
        group_id=str(_first(row, _GROUP) or number),
        messages=(Message(role="user", content=prompt),),
        references=tuple(str(answer) for answer in given if answer is not None and str(answer).strip()),
    )


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _labels(table: "pl.DataFrame", column: str, positive: Sequence[str], kind: str) -> _Labels | None:
    """The human labels, if there are any. Raises ConfigError if it is unknown which of them mean a hit."""
    if column and column not in table.columns:
        raise ConfigError(f"no column {column!r} for the labels: there are {', '.join(table.columns)}")
    refusals = kind in ("refusal", "compliance")
    name = column or next((known for known in _KNOWN_LABELS if refusals and known in table.columns), None)
    if name is None:
        if positive:
            raise ConfigError("--positive says which labels mean a hit: name their column by --labels")
        return None
    values = [None if value is None else str(value).strip() for value in table[name].to_list()]
    if positive:
        return _Labels(name, ["unscored" if not value else "hit" if value in positive else "miss" for value in values])
    hits, misses = _KNOWN_LABELS.get(name, _PLAIN_LABELS) if refusals else _PLAIN_LABELS
    if name in _KNOWN_LABELS and kind == "compliance":
        hits, misses = misses, hits
    outcomes: list[Outcome] = [
        "hit" if (value or "").lower() in hits else "miss" if (value or "").lower() in misses else "unscored"
        for value in values
    ]
    if not {"hit", "miss"} & set(outcomes):
        shown = ", ".join(sorted({value for value in values if value})[:5])
        raise ConfigError(f"which labels of {name!r} mean a hit? It holds {shown}: say so by --positive VALUE")
    return _Labels(name, outcomes)


def _summary(kind: str, outcomes: "list[Outcome]", groups: list[str]) -> list[str]:
    from mascing.statistics.intervals import rate

    unscored = outcomes.count("unscored")
    bounds = ", counted as hits at one end of the interval, as misses at the other" if unscored else ""
    return [
        f"judged      {len(outcomes)} replies by {kind}",
        f"hits        {outcomes.count('hit')}: {_share(rate(outcomes, groups))}",
        f"misses      {outcomes.count('miss')}",
        f"unscored    {unscored}{bounds}",
    ]


def _agreement(labels: _Labels, outcomes: "list[Outcome]", groups: list[str]) -> list[str]:
    """What the verdicts share with the labels, on the rows that have one."""
    from mascing.statistics.agreement import agreement_on, kappa

    chosen = [index for index, label in enumerate(labels.outcomes) if label != "unscored"]
    judged, said = ([each[index] for index in chosen] for each in (outcomes, labels.outcomes))
    where = [groups[index] for index in chosen]
    agreement = kappa(judged, said, where)
    lines = [f"labels      {labels.column}: {said.count('hit')} hits, {said.count('miss')} misses"]
    if len(chosen) < len(outcomes):
        lines[0] += f"; {len(outcomes) - len(chosen)} rows with other labels are left out"
    lines.append(f"kappa       {agreement.value:.2f} ({agreement.low:.2f} to {agreement.high:.2f})")
    sides: dict[str, Outcome] = {"sensitivity": "hit", "specificity": "miss"}
    for name, side in sides.items():
        if side in said:
            lines.append(f"{name} {_share(agreement_on(judged, said, side, where))}")
    return lines


def _share(rate: "Rate") -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _write(
    output: Path,
    table: "pl.DataFrame",
    column: str,
    judged: "list[tuple[Conversation, Verdict]]",
    labels: _Labels | None,
) -> None:
    """Write a row per verdict. Raises DataError if the file cannot be written."""
    import polars as pl

    columns: dict[str, list[str | None]] = {
        "id": [conversation.id for conversation, _ in judged],
        "outcome": [verdict.outcome for _, verdict in judged],
        "reason": [verdict.reason for _, verdict in judged],
        "reply": table[column].cast(pl.String).to_list(),
    }
    if labels is not None:
        columns["label"] = [None if label == "unscored" else label for label in labels.outcomes]
    verdicts = pl.DataFrame(columns)
    writers: dict[str, Callable[[Path], object]] = {
        ".jsonl": verdicts.write_ndjson,
        ".csv": verdicts.write_csv,
        ".parquet": verdicts.write_parquet,
    }
    if output.suffix not in writers:
        raise DataError(f"{output}: cannot tell the format: name it {', '.join(writers)}")
    try:
        writers[output.suffix](output)
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error}") from error


def _next(kind: str, file: Path, output: Path | None, labels: _Labels | None) -> str:
    if output is not None:
        return f"next: read the verdicts in {output}" + (", first those that differ from their label" if labels else "")
    if labels is None:
        return f"next: look at the verdicts: mascing judge {file} --judge {kind} --output verdicts.jsonl"
    return f"next: read where they disagree: mascing judge {file} --judge {kind} --output verdicts.jsonl"
