"""`mascing judge`: judge the replies of a file, compare the verdicts with human labels, and calibrate the judge."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, storage_option
from mascing.commands.verdicts.asked_judge import judge_config as checked_config
from mascing.commands.verdicts.counted import counted, spent
from mascing.commands.verdicts.human_labels import KNOWN_LABELS, Labels, agreement, labels_of
from mascing.errors import ConfigError, DataError
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.conversations.intake.reply_files import GivenReply, ReplyFile
    from mascing.engines.openai.ledger import Amount
    from mascing.schemas.settings.judge_settings import JudgeConfig
    from mascing.schemas.verdict import Outcome, Verdict
    from mascing.storage.object_storage import Storage


def judge(
    judge: Annotated[
        str,
        typer.Option(
            help="refusal, compliance, choice, contains, exact, llama_guard, llm, classifier, perplexity, panel, or "
            "where a judge of your own is."
        ),
    ],
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Any file that `mascing conversations` reads; not for --canary.")
    ] = "",
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
        str, typer.Option(metavar="COLUMN", help=f"Human labels; else {', '.join(KNOWN_LABELS)}, if there.")
    ] = "",
    positive: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="A label that means a hit; any other is a miss.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the verdicts go: .jsonl, .csv or .parquet.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Where the agreement goes, for `calibration` in the judge's settings."),
    ] = None,
    canary: Annotated[bool, typer.Option("--canary", help="Try the judge on the canary set, without a file.")] = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Judge given replies, and say how far the verdicts agree with human labels.

    Each row has a reply in a column of its own or as the assistant's last turn, and where the judge compares, the
    accepted answers (references, answers, wanted, or what its layout has). With
    human labels come kappa, sensitivity (labelled hits that the judge finds) and specificity (labelled misses that it
    leaves), with 95% intervals clustered by group_id, or else by prompt. --calibration keeps them for runs, which then
    report rates without the judge's known error too.

    What an endpoint is paid for is kept under --storage, and nothing is paid twice; --canary alone always asks anew.

    Examples:

      mascing judge replies.jsonl --judge refusal --output verdicts.jsonl

      mascing judge xstest_v2_completions_gpt4.csv --judge refusal --labels final_label

      mascing judge replies.csv --judge compliance --labels human --positive complied --positive partly

      mascing judge answers.jsonl --judge choice

      mascing judge replies.csv --judge llm --judge-config judge.yaml --labels human --calibration judge.json

      mascing judge --judge llm --judge-config judge.yaml --canary
    """
    config = checked_config(judge, judge_config)
    paid = _paid_answers(config, storage)
    named = f"--judge {judge}" + (f" --judge-config {shlex.quote(judge_config)}" if judge_config else "")
    named += storage_option(storage) if paid is not None else ""
    if canary:
        if file:
            raise ConfigError("--canary tries the judge on its own set: leave out the file, or --canary")
        _try_canaries(config, paid, named)
        return
    if not file:
        raise ConfigError("give the file of replies, or --canary")
    shown = f"{shlex.quote(file)} {named}{_columns(reply, labels, positive or [])}"
    _judge_file(config, file, reply, labels, tuple(positive or ()), output, calibration, paid, shown)


def _judge_file(
    config: "JudgeConfig",
    file: str,
    reply: str,
    labels: str,
    positive: tuple[str, ...],
    output: Path | None,
    calibration: Path | None,
    storage: "Storage | None",
    shown: str,
) -> None:
    from mascing.conversations.intake.reply_files import read_replies
    from mascing.judges.calibrations.calibration import calibration_of
    from mascing.storage.source import files_of_rows

    replies = read_replies(files_of_rows(file), reply)
    before = _spent(storage)
    judged = _judged(config, replies, storage)
    found = labels_of([given.columns for given, _ in judged], replies.columns, labels, positive, config.kind)
    groups = [given.conversation.group_id for given, _ in judged]
    verdicts = [verdict for _, verdict in judged]
    outcomes = [verdict.outcome for verdict in verdicts]
    known = calibration_of(config)
    for line in [*counted(config.kind, verdicts, groups, known), *spent(verdicts, before, _spent(storage))]:
        echo_prose(line)
    scored = set(outcomes) != {"unscored"}
    if found is not None and scored:
        for line in agreement(found, outcomes, groups):
            echo_prose(line)
    if output is not None:
        _write(output, judged, found)
    if not scored:
        raise DataError(
            f"none of {len(outcomes)} replies could be scored by {config.kind}: the reasons are above; try it on known "
            "replies by --canary, or take another judge"
        )
    if calibration is not None:
        _calibrate(calibration, config, file, found, outcomes, groups)
    echo_prose(_next(shown, output, found, calibration))


def _paid_answers(config: "JudgeConfig", url: str) -> "Storage | None":
    """Where paid answers are kept; None if no judge is paid."""
    from mascing.schemas.settings.judge_settings import PanelJudge
    from mascing.storage.object_storage import Storage

    members = config.members if isinstance(config, PanelJudge) else ()
    paid = getattr(config, "endpoint", None) is not None or any(_paid_answers(member, url) for member in members)
    return Storage.open(url) if paid else None


def _spent(storage: "Storage | None") -> "Amount | None":
    """What this process was paid for so far; None if no judge is paid."""
    if storage is None:
        return None
    from mascing.engines.openai.endpoint import spent_here

    return spent_here()


def _try_canaries(config: "JudgeConfig", storage: "Storage | None", named: str) -> None:
    """Say what the judge makes of each canary today. Raises ConfigError if it reads one of them wrong."""
    from mascing.engines.openai.stored_answers import PaidAnew
    from mascing.judges.canaries.canary import hear_canaries, refuse_wrong

    heard = hear_canaries(config, PaidAnew(storage) if storage is not None else None)
    for each in heard:
        mark = "right" if each.right else "WRONG"
        echo_prose(f"{mark:<10} {each.canary.name}: {each.verdict.outcome} ({each.verdict.reason})")
    if storage is not None:
        echo_prose("asked anew: no stored answer counts here, and these are not stored")
    refuse_wrong(config, heard)
    echo_prose(f"next: compare it with people: mascing judge FILE {named} --labels COLUMN --positive VALUE")


def _columns(reply: str, labels: str, positive: list[str]) -> str:
    """The options that name columns, as the user wrote them."""
    given = [("--reply", reply), ("--labels", labels), *(("--positive", value) for value in positive)]
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given if value)


def _calibrate(
    path: Path,
    config: "JudgeConfig",
    file: str,
    labels: Labels | None,
    outcomes: "list[Outcome]",
    groups: list[str],
) -> None:
    from mascing.judges.calibrations.calibration import calibrated, write_calibration
    from mascing.storage.source import read_rows

    if labels is None:
        raise ConfigError("--calibration needs human labels: name their column by --labels")
    judged, said, where = ([each[index] for index in labels.chosen()] for each in (outcomes, labels.outcomes, groups))
    found = calibrated(config, judged, said, where, read_rows(file).sha256, labels.column)  # type: ignore[arg-type]
    write_calibration(path, found)


def _judged(config: "JudgeConfig", file: "ReplyFile", storage: "Storage | None") -> "list[tuple[GivenReply, Verdict]]":
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
    verdicts = judge_by(config, [given.conversation for given in usable], replies, storage)
    return list(zip(usable, verdicts, strict=True))


def _write(output: Path, judged: "list[tuple[GivenReply, Verdict]]", labels: Labels | None) -> None:
    """Write a row per verdict. Raises DataError if the file cannot be written."""
    import polars as pl

    columns: dict[str, list[str | None]] = {
        "id": [given.conversation.id for given, _ in judged],
        "outcome": [verdict.outcome for _, verdict in judged],
        "reason": [verdict.reason for _, verdict in judged],
        "reply": [given.text for given, _ in judged],
    }
    if any(verdict.raw is not None for _, verdict in judged):
        columns["said"] = [verdict.raw for _, verdict in judged]
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


def _next(shown: str, output: Path | None, labels: Labels | None, calibration: Path | None) -> str:
    """What to do next; ``shown`` are the words that judge the same file again."""
    if calibration is not None:
        return f"next: add `calibration: {calibration}` to this judge in the configuration of a run"
    if output is not None:
        return f"next: read the verdicts in {output}" + (", first those that differ from their label" if labels else "")
    why = "look at the verdicts" if labels is None else "read where they disagree"
    return f"next: {why}: mascing judge {shown} --output verdicts.jsonl"
