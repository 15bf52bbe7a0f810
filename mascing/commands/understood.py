"""`mascing conversations`: what a file of conversations is understood to hold, before a run is made of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.errors import ConfigError, DataError
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mascing.conversations.intake.reader import Reading
    from mascing.conversations.intake.survey import Survey
    from mascing.schemas.conversation import Conversation
    from mascing.schemas.settings.columns import ColumnsConfig

_SHOWN = 200
_LIST_SHOWN = 12


def conversations(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, a folder of files, or a URL of one.")],
    columns: Annotated[
        str,
        typer.Option(metavar="NAME_OR_MAPPING", help="A ready-made layout, or a mapping in YAML, or a file of one."),
    ] = "",
    convert: Annotated[
        Path | None, typer.Option(metavar="OUT.jsonl", help="Write the conversations in mascing's own layout.")
    ] = None,
) -> None:
    """Show what is understood of a file of conversations, what is missing, and how it would split.

    Reads JSON Lines, JSON, CSV, TSV, Parquet, Arrow and folders of them, compressed or not. The format and the layout
    are told from the content; `--columns` says what the columns hold where they do not show it. No model is needed.

    Examples:

      mascing conversations rows.jsonl

      mascing conversations xstest_prompts.csv --convert xstest.jsonl

      mascing conversations train.parquet --columns sharegpt

      mascing conversations qa.csv --columns 'user: "{context}\\n\\n{question}", references: answer'
    """
    from mascing.conversations.intake.reader import open_conversations
    from mascing.conversations.intake.survey import survey
    from mascing.schemas.config import BehaviourConfig, SplitConfig
    from mascing.storage.source import files_of_rows

    mapping = _columns(columns)
    files = files_of_rows(file)
    reading = open_conversations(files, mapping, BehaviourConfig.model_fields["max_characters"].default)
    found = survey(reading, SplitConfig())
    for line in (
        *_understood(reading, found, mapping is None),
        *_missing(reading, found),
        *_split(found),
        *_refused(reading, found),
    ):
        echo_prose(line)
    if not found.used:
        empty = "next: name a file that has rows, since this one has none"
        echo_prose("next: mend the rows, or say by --columns what the columns hold" if found.refused else empty)
        raise typer.Exit(1)
    if convert is not None:
        echo_prose(f"written     {_converted(reading, file, convert)} conversations to {convert}")
    echo_prose(_next(file, columns, convert))


def _columns(given: str) -> "ColumnsConfig | None":
    """A layout's name or a mapping. Raises ConfigError."""
    import yaml
    from pydantic import ValidationError

    from mascing.schemas.base import Frozen
    from mascing.schemas.settings.columns import ColumnsConfig
    from mascing.validation import complaints

    class Asked(Frozen):
        columns: ColumnsConfig

    if not given:
        return None
    text = Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given
    braced = text if "\n" in text or ":" not in text or text.lstrip().startswith("{") else f"{{{text}}}"
    try:
        value = yaml.safe_load(braced)
    except yaml.YAMLError as error:
        raise ConfigError(f"--columns is neither a layout's name nor YAML: {' '.join(str(error).split())}") from error
    try:
        return Asked.model_validate({"columns": value}).columns
    except ValidationError as error:
        raise ConfigError(f"--{'; '.join(complaints(error, Asked))}") from error


def _understood(reading: "Reading", found: "Survey", told: bool) -> Iterator[str]:
    known = " (known by its columns)" if told else ""
    yield f"format      {reading.format}"
    yield f"layout      {reading.layout.name}{known}"
    refused = f", {found.refused} rows cannot be used" if found.refused else ""
    yield f"read        {found.used} conversations in {found.groups} groups{refused}"
    if not found.used:
        return
    yield f"sets        {_counted(found.sets)}"
    yield f"labels      {_labels(found)}"
    turns = [f"{count} with {turns}" for turns, count in sorted(found.turns.items())]
    yield f"user turns  {', '.join(turns[:_LIST_SHOWN])}"
    if found.given:
        yield f"also given  {_counted(found.given)}"
    if found.metadata:
        yield f"metadata    {_counted(found.metadata)}"
    for note in (*reading.notes, *_made_up(found)):
        yield f"note        {note}"
    if found.first is not None:
        yield from _first(found.first)


def _labels(found: "Survey") -> str:
    """How many rows have which label, and how many have none."""
    given = {label: count for label, count in found.labels.items() if label != "none"}
    without = f"{found.labels['none']} rows without labels" if found.labels.get("none") else ""
    return ", ".join(filter(None, (_counted(given), without)))


def _made_up(found: "Survey") -> Iterator[str]:
    if found.hashed:
        yield f"{found.hashed} without an id get a hash of the row"
    if found.grouped:
        yield f"{found.grouped} without a group_id are grouped by their first request"


def _first(conversation: "Conversation") -> Iterator[str]:
    yield f"first       {conversation.id}, group {_short(conversation.group_id)}"
    for message in conversation.messages[:4]:
        yield f"            {message.role}: {_short(message.content)}"
    if len(conversation.messages) > 4:
        yield f"            … and {len(conversation.messages) - 4} more turns"


def _missing(reading: "Reading", found: "Survey") -> Iterator[str]:
    if not found.used:
        return
    if "target" not in found.sets:
        yield "missing     conversations of set `target`: without them a run stops"
    if "target" in found.sets and set(found.labels) == {"none"}:
        yield "missing     labels: no harm, `mascing label` makes them from the model's own replies"
    if not any(name.startswith("utility/") for name in found.sets):
        yield "missing     a utility set (set: utility/<name>): without one the gates cannot pass"
    if reading.layout.columns.references is not None and not found.given["references"]:
        yield "missing     references: the judges `exact`, `contains` and `choice` need right answers"
        if reading.layout.name == "mctest":
            yield "            MCTest keeps them in a file beside: `paste FILE.tsv FILE.ans > joined.tsv` joins them"


def _split(found: "Survey") -> Iterator[str]:
    from mascing.conversations.splits import SPLITS
    from mascing.schemas.config import SplitConfig

    if not found.used:
        return
    shares = ", ".join(f"{split} {share:g}" for split, share in SplitConfig().model_dump().items())
    yield f"splits      by the default shares ({shares}); `mascing check run.yaml` counts by its own"
    for split in SPLITS:
        sizes = {name: found.split[split, name] for name in sorted(found.sets)}
        yield f"{split:<11} {', '.join(f'{count} {name}' for name, count in sizes.items())}"
        if "target" in found.sets and not sizes["target"]:
            yield f"missing     target conversations in {split}: add some of other groups, or change `splits`"


def _refused(reading: "Reading", found: "Survey") -> Iterator[str]:
    reasons = found.reasons.most_frequent()
    for reason in reasons[:_LIST_SHOWN]:
        yield f"cannot use  {reason.told(reading.unit)}"
    if len(reasons) > _LIST_SHOWN:
        yield f"cannot use  … for {len(reasons) - _LIST_SHOWN} more reasons"


def _converted(reading: "Reading", file: str, output: Path) -> int:
    """Write the usable conversations in mascing's own layout; returns their number. Raises DataError."""
    from mascing.conversations.intake.rows import Used

    if output.exists() and Path(file).exists() and output.samefile(file):
        raise DataError(f"--convert {output} is the file that is read: name another")
    written = 0
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("w", encoding="utf-8", newline="\n") as out:
            for row in reading.rows({}):
                if isinstance(row, Used):
                    out.write(f"{row.conversation.model_dump_json(exclude_defaults=True)}\n")
                    written += 1
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error}") from error
    return written


def _next(file: str, columns: str, convert: Path | None) -> str:
    if convert is not None:
        return f"next: set `behaviour.conversations: {convert}` in run.yaml, then mascing label run.yaml"
    mapped = f"{{{columns}}}" if ":" in columns and not columns.lstrip().startswith("{") else columns
    read_as = f" and `behaviour.columns: {mapped}`" if columns else ""
    return f"next: set `behaviour.conversations: {file}`{read_as} in run.yaml, then mascing label run.yaml"


def _counted(counts: "Mapping[str, int]") -> str:
    shown = [f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    return ", ".join(shown[:_LIST_SHOWN]) + (
        f" and {len(shown) - _LIST_SHOWN} more" if len(shown) > _LIST_SHOWN else ""
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
