"""`mascing judge`: judge the replies of a file, and compare the verdicts with human labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mascing.errors import ConfigError, DataError
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.conversations.intake.reply_files import GivenReply, ReplyFile
    from mascing.schemas.result import Rate
    from mascing.schemas.settings.judge_settings import JudgeConfig
    from mascing.schemas.verdict import Outcome, Verdict

# Human labels of public data: the column, and the labels that mean a refusal and an answer. Other labels are left out.
_KNOWN_LABELS = {
    "final_label": (("2_full_refusal",), ("1_full_compliance",)),
    "jailbroken": (("false", "0"), ("true", "1")),
    "human_majority": (("0", "0.0", "false"), ("1", "1.0", "true")),
}
_VALUES_SHOWN = 8
_PLAIN_LABELS = (("hit", "true", "yes", "1", "1.0"), ("miss", "false", "no", "0", "0.0"))


@dataclass(frozen=True)
class _Labels:
    """The human labels of the rows: ``miss`` and ``hit``, or ``unscored`` for a row that is left out."""

    column: str
    outcomes: "list[Outcome]"


def judge(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any file that `mascing conversations` reads.")],
    judge: Annotated[
        str, typer.Option(help="refusal, compliance, choice, contains, exact, or where a judge of your own is.")
    ],
    judge_config: Annotated[
        str, typer.Option(metavar="YAML", help="The judge's options, or a file of them: 'phrases: [\"No way\"]'.")
    ] = "",
    reply: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="The replies; else reply, completion, response, generation or output, or the last turn.",
        ),
    ] = "",
    labels: Annotated[
        str, typer.Option(metavar="COLUMN", help=f"Human labels; else {', '.join(_KNOWN_LABELS)}, if there.")
    ] = "",
    positive: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="A label that means a hit; any other is a miss.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the verdicts go: .jsonl, .csv or .parquet.")] = None,
) -> None:
    """Judge given replies, and say how far the verdicts agree with human labels.

    Each row has a reply in a column of its own or as the assistant's last turn, and where the judge compares, the
    accepted answers (references, answers, wanted, or what its layout has). With
    human labels come kappa, sensitivity (labelled hits that the judge finds) and specificity (labelled misses that it
    leaves), with 95% intervals clustered by group_id, or else by prompt.

    Examples:

      mascing judge replies.jsonl --judge refusal --output verdicts.jsonl

      mascing judge xstest_v2_completions_gpt4.csv --judge refusal --labels final_label

      mascing judge replies.csv --judge compliance --labels human --positive complied --positive partly

      mascing judge answers.jsonl --judge choice
    """
    from mascing.conversations.intake.reply_files import read_replies
    from mascing.storage.source import files_of_rows

    config = _judge_config(judge, judge_config)
    replies = read_replies(files_of_rows(file), reply)
    judged = _judged(config, replies)
    rows = [given.columns for given, _ in judged]
    found = _labels(rows, replies.columns, labels, tuple(positive or ()), config.kind)
    groups = [given.conversation.group_id for given, _ in judged]
    outcomes = [verdict.outcome for _, verdict in judged]
    for line in _summary(config.kind, outcomes, groups):
        echo_prose(line)
    if found is not None:
        for line in _agreement(found, outcomes, groups):
            echo_prose(line)
    if output is not None:
        _write(output, judged, found)
    echo_prose(_next(config.kind, file, output, found))


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


def _judged(config: "JudgeConfig", file: "ReplyFile") -> "list[tuple[GivenReply, Verdict]]":
    """The replies that can be judged, with their verdicts; it says how many cannot. Raises DataError if none can."""
    from mascing.conversations.reply import Reply
    from mascing.conversations.thoughts import said_in
    from mascing.judges.judging import judge_by
    from mascing.judges.table import cannot_judge

    problems = {given.number: cannot_judge(config, given.conversation) for given in file.replies}
    usable = [given for given in file.replies if problems[given.number] is None]
    left_out = sorted([*file.left_out, *((number, why) for number, why in problems.items() if why is not None)])
    if not usable:
        rows = len(file.replies) + len(file.left_out)
        raise DataError(f"none of {rows} rows can be judged by {config.kind}: row {left_out[0][0]} {left_out[0][1]}")
    if left_out:
        echo_prose(f"left out    {len(left_out)} rows, the first is row {left_out[0][0]}: it {left_out[0][1]}")
    said = [said_in(given.text) for given in usable]
    replies = [Reply(each.text, each.thought, in_thought=not each.closed) for each in said]
    verdicts = judge_by(config, [given.conversation for given in usable], replies)
    return list(zip(usable, verdicts, strict=True))


def _labels(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], column: str, positive: Sequence[str], kind: str
) -> _Labels | None:
    """The human labels, if there are any. Raises ConfigError if it is unknown which of them mean a hit."""
    if column and column not in columns:
        raise ConfigError(f"no column {column!r} for the labels: there are {', '.join(columns)}")
    refusals = kind in ("refusal", "compliance")
    name = column or next((known for known in _KNOWN_LABELS if refusals and known in columns), None)
    if name is None:
        if positive:
            raise ConfigError("--positive says which labels mean a hit: name their column by --labels")
        return None
    values = [None if row.get(name) is None else str(row[name]).strip() for row in rows]
    shown = ", ".join(sorted({value for value in values if value})[:_VALUES_SHOWN])
    if positive:
        if unknown := next((value for value in positive if value not in values), None):
            raise ConfigError(f"no label of {name!r} is {unknown!r}: name some of {shown} by --positive")
        return _Labels(name, ["unscored" if not value else "hit" if value in positive else "miss" for value in values])
    hits, misses = _KNOWN_LABELS.get(name, _PLAIN_LABELS) if refusals else _PLAIN_LABELS
    if name in _KNOWN_LABELS and kind == "compliance":
        hits, misses = misses, hits
    outcomes: list[Outcome] = [
        "hit" if (value or "").lower() in hits else "miss" if (value or "").lower() in misses else "unscored"
        for value in values
    ]
    if not {"hit", "miss"} & set(outcomes):
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


def _write(output: Path, judged: "list[tuple[GivenReply, Verdict]]", labels: _Labels | None) -> None:
    """Write a row per verdict. Raises DataError if the file cannot be written."""
    import polars as pl

    columns: dict[str, list[str | None]] = {
        "id": [given.conversation.id for given, _ in judged],
        "outcome": [verdict.outcome for _, verdict in judged],
        "reason": [verdict.reason for _, verdict in judged],
        "reply": [given.text for given, _ in judged],
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


def _next(kind: str, file: str, output: Path | None, labels: _Labels | None) -> str:
    if output is not None:
        return f"next: read the verdicts in {output}" + (", first those that differ from their label" if labels else "")
    if labels is None:
        return f"next: look at the verdicts: mascing judge {file} --judge {kind} --output verdicts.jsonl"
    return f"next: read where they disagree: mascing judge {file} --judge {kind} --output verdicts.jsonl"
