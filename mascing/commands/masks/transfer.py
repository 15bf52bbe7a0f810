"""`mascing mask transfer`: what a mask does on a sibling of its model."""

from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, MaskArgument, StorageOption
from mascing.errors import ConfigError
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.schemas.conversation import Conversation

_MOST = 256
"""Conversations that are probed: each is run four times, and its first reply token kept for the whole vocabulary."""


def transfer(
    mask: MaskArgument,
    to: Annotated[str, typer.Option(metavar="MODEL", help="The sibling: a fine-tune, or a quantised copy.")],
    own: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="The model that the mask was made for, to compare.")
    ] = None,
    conversations: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"Probes: conversations, of which the first {_MOST} are run.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the mask for the sibling there, marked unproven.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Report what a mask does on a sibling checkpoint, before anyone trusts it there.

    Compares the two models' routers and, on the probes, what they select, how the mask changes it, and how it changes
    the first token of the replies. A model of another structure, or with routers that are no relatives, is refused. Of
    two models one at a time is in memory.

    Exits with 0 if the mask moves routing and replies as on its own model, and with 1 otherwise: if it does not, or if
    that could not be measured. In no case is the behaviour proved: judge it there.

    Example:

      mascing mask transfer jailbreak-defence@candidate --from ./my-model --to ./my-fine-tune --conversations rows.jsonl
    """
    from mascing.masks.mask import Mask
    from mascing.runs.mask_address import mask_url
    from mascing.schemas.config import ModelConfig
    from mascing.steering.siblings.transfer import told, transferred, verdict

    loaded = Mask.load(mask_url(mask, storage))
    if out is not None and own is None:
        raise ConfigError(
            "--out writes a mask for a sibling: name the mask's own model by --from, to show that it is one"
        )
    probes = _probes(conversations) if conversations else []
    report = transferred(loaded, ModelConfig(path=to), None if own is None else ModelConfig(path=own), probes)
    for line in told(report):
        echo_prose(line)
    if out is not None and report.answer != "differs":
        report.rebased.save(out)
        typer.echo(f"written: {out}, unproven")
    follows = report.answer == "follows"
    echo_prose(f"{'ok' if follows else 'no'}: {verdict(report)}")
    if not follows:
        raise typer.Exit(1)


def _probes(file: str) -> "list[Conversation]":
    from mascing.conversations.intake.reader import nothing_left, open_conversations, read_all
    from mascing.errors import DataError
    from mascing.schemas.config import BehaviourConfig
    from mascing.storage.source import files_of_rows

    reading = open_conversations(files_of_rows(file), None, BehaviourConfig.model_fields["max_characters"].default)
    read = read_all(reading)
    if not read.conversations:
        raise DataError(nothing_left(read.quarantined, reading.unit))
    if read.quarantined:
        echo_prose(f"note: {len(read.quarantined)} {reading.unit}s of {file} cannot be used and are left out")
    return read.conversations[:_MOST]
