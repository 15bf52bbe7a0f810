"""`mascing label`: the model's own labels for conversations of one's own."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, VerboseOption, storage_option

if TYPE_CHECKING:
    from rich.table import Table

    from mascing.evidence.foregone import Foregone
    from mascing.schemas.facts import LabelFacts
    from mascing.schemas.finished import Labelled
    from mascing.schemas.result import Rate
    from mascing.storage.object_storage import Storage


def label(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="The configuration of the run.")],
    storage: StorageOption = DEFAULT_STORAGE,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the labelled conversations as JSON Lines.")
    ] = None,
    verbose: VerboseOption = False,
) -> None:
    """Label conversations by the model's own replies, and say whether they are enough to learn from.

    The unsteered model replies to every conversation, the judges read the replies, and label, wanted and unwanted come
    from that. Runs the first two stages of `mascing run`, which then goes on from here and generates nothing twice.

    Examples:

      mascing label run.yaml

      mascing label run.yaml --output labelled.jsonl --storage s3://bucket/mascing
    """
    from rich.console import Console

    from mascing.commands.check import refuse_doomed
    from mascing.commands.line import interval, percent, run_shown, say, say_prose
    from mascing.commands.outcomes.tables import print_fitting
    from mascing.config import load_config
    from mascing.evidence.sufficiency import lacking
    from mascing.flows.starting import Line
    from mascing.schemas.finished import Labelled
    from mascing.storage.object_storage import Storage

    loaded = load_config(config)
    if output is not None:
        _refuse_unwritable(Path(output))
    opened = Storage.open(storage)
    # It publishes nothing, and says at its end which gates cannot be passed.
    refuse_doomed(Console(), opened, loaded.model_copy(update={"allow_unpublishable": True}))

    def flow() -> Labelled:
        from mascing.flows.label_line import label_line

        return label_line(loaded, opened.url)

    def finished() -> Labelled:
        from mascing.flows.finished_line import finished_labels

        return finished_labels(loaded, opened.url)

    def foregone() -> "Sequence[Foregone]":
        from mascing.tasks.contrast.stored_labels import known

        return known(opened, loaded).foregone

    console, labelled = run_shown(opened, Line(flow, finished), verbose)
    facts = labelled.facts
    print_fitting(console, *(_table(loaded.behaviour.name, facts, share) for share in (interval, percent)))
    for line in _lines(facts):
        say_prose(console, line)
    if output is not None:
        say(console, f"labelled conversations: {_write(opened, labelled, output)}")
    blocked = foregone()
    for gate in blocked:
        say_prose(console, str(gate))
    if missing := lacking(facts, loaded):
        *short, remedy = missing
        say_prose(console, f"not enough to learn from: {'; '.join(short)}")
        say_prose(console, f"next: {remedy}")
    else:
        say_prose(console, "the model's own replies leave enough to learn from")
        first = f"{blocked[0].mend}, then " if blocked else ""
        say_prose(console, f"next: {first}mascing run {config}{storage_option(storage)}")


def _refuse_unwritable(output: Path) -> None:
    """Raise ConfigError where the rows could not be written once the labels are there, which may take hours."""
    from mascing.errors import ConfigError

    there = output if output.exists() else output.parent
    if output.is_dir() or not there.exists() or not os.access(there, os.W_OK):
        raise ConfigError(f"--output {output} cannot be written: name a file in a folder that exists and is yours")


def _table(behaviour: str, facts: "LabelFacts", share: "Callable[[Rate], str]") -> "Table":
    """Replies by split and set, with the hits as ``share`` writes them."""
    from rich.table import Table

    from mascing.commands.line import interval
    from mascing.conversations.splits import SPLITS

    title = f"{behaviour}: replies of the unsteered model, %{' [95% interval]' if share is interval else ''}"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column("split", no_wrap=True)
    table.add_column("set", no_wrap=True)
    for heading in ("replies", "hits", "unscored", "cut off"):
        table.add_column(heading, justify="right", no_wrap=share is interval)
    for split in SPLITS:
        for name, replies in sorted(facts.sets[split].items(), key=lambda item: (item[0] != "target", item[0])):
            rate = replies.rate
            table.add_row(split, name, str(rate.n), share(rate), str(replies.unscored), str(replies.cut_off))
    return table


def _lines(facts: "LabelFacts") -> Iterator[str]:
    """The contrast of each split, and the agreement with the labels of the file."""
    from mascing.evidence.sufficiency import MINIMUMS, doubts_of

    for split in MINIMUMS:
        counts = facts.contrast[split]
        yield (
            f"{split}: methods learn from {counts.positive} positive and {counts.negative} negative conversations in "
            f"{counts.positive_groups} and {counts.negative_groups} groups; {counts.both} have a wanted and an "
            f"unwanted reply, in {counts.on_policy} of them both are the model's own to that conversation"
        )
    yield from doubts_of(facts)


def _write(storage: "Storage", labelled: "Labelled", output: str) -> str:
    """Write the conversations of all splits in the layout that a run reads."""
    from mascing.conversations.splits import SPLITS
    from mascing.errors import DataError
    from mascing.runs.readers import conversations_of

    with TemporaryFile("w+", encoding="utf-8") as lines:  # all rows are read before the output is touched
        for split in SPLITS:
            for conversation in conversations_of(storage, labelled, split):
                line = conversation.model_dump_json(exclude_defaults=True, exclude={"contrast"})
                lines.write(f"{line}\n")
        lines.seek(0)
        try:
            with open(output, "w", encoding="utf-8") as file:
                shutil.copyfileobj(lines, file)
        except OSError as error:
            raise DataError(f"{output} cannot be written: {error}") from error
    return output
