"""`mascing registry list | show | history | promote | rollback`: look at channels and move them."""

from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, storage_option
from mascing.prose import counted, echo_prose
from mascing.schemas.cards.mask_card import Channel, Move

registry = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=(
        "Look at channels and move them. A channel points at one published mask, and keeps its history.\n\n"
        "CHANNEL is behaviour@channel, or where several models have that behaviour, model/behaviour@channel, as "
        "`mascing registry list` shows it. Runs publish to the channel `candidate`."
    ),
)

ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help="behaviour@channel or model/behaviour@channel")]


@registry.command("list")
def list_channels(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """List the channels and the masks that they hold, and first what is wrong with what cannot be read of them.

    Exits with 1 if there is such.

    Example:

      mascing registry list --storage s3://bucket/mascing
    """
    from mascing.commands.outcomes.tables import print_table
    from mascing.runs.registry import channels_and_damage, mask_damage
    from mascing.storage.object_storage import Storage

    opened = Storage.open_to_read(storage)
    found, damage = channels_and_damage(opened)
    damage += [said for channel in found if (said := mask_damage(opened, channel)) is not None]
    for said in damage:
        echo_prose(f"damaged: {said}")
    if not found:
        echo_prose(f"nothing {'else ' if damage else ''}is published under {opened.url}")
        echo_prose("next: mascing run CONFIG.yaml, or mascing demo")
    else:
        rows = [(entry.address, entry.mask, str(len(entry.history))) for entry in found]
        print_table(("channel", "mask", "held before"), rows)
        echo_prose(f"next: look at a mask: mascing mask show {found[0].address}{storage_option(storage)}")
    if damage:
        raise typer.Exit(1)


@registry.command()
def show(channel: ChannelArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show what a channel holds.

    Example:

      mascing registry show jailbreak-defence@candidate
    """
    from mascing.runs.mask_address import find_channel
    from mascing.runs.registry import mask_damage
    from mascing.storage.object_storage import Storage

    opened = Storage.open_to_read(storage)
    found = find_channel(opened, channel)
    for name in ("address", "model", "fingerprint", "mask"):
        typer.echo(f"{name:<12} {getattr(found, name)}")
    if (move := found.told[-1][1]) is not None:
        typer.echo(f"{'since':<12} {_moment(move)}")
    typer.echo(f"{'held before':<12} {counted(len(found.history), 'mask')}")
    if found.withdrawn:
        typer.echo(f"{'withdrawn':<12} {', '.join(found.withdrawn)}")
    if (damage := mask_damage(opened, found)) is not None:
        echo_prose(f"damaged: {damage}")
        raise typer.Exit(1)
    echo_prose(f"next: look at the mask: mascing mask show {found.address}{storage_option(storage)}")


@registry.command()
def history(channel: ChannelArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show every mask that a channel held, the oldest first and the present one last: since when, by whom and why.

    Example:

      mascing registry history jailbreak-defence@candidate
    """
    from mascing.runs.mask_address import find_channel
    from mascing.storage.object_storage import Storage

    opened = Storage.open_to_read(storage)
    found = find_channel(opened, channel)
    for number, (mask, move) in enumerate(found.told, start=1):
        now = "  (now)" if number > len(found.history) else ""
        echo_prose(f"{number}  {mask}{now}{'' if move is None else f'  {_moment(move)}'}")
    where = f"{found.address}{storage_option(storage)}"
    if found.earlier:
        echo_prose(f"next: go back: mascing registry rollback {where}")
    elif withdrawn := found.earlier_withdrawn:
        echo_prose(
            f"next: go back to a mask that was withdrawn: mascing registry rollback {where} --to {withdrawn[-1]}"
        )
    else:
        echo_prose(f"next: look at the mask: mascing mask show {where}")


@registry.command()
def promote(
    channel: ChannelArgument,
    to: Annotated[str, typer.Argument(metavar="NAME", help="The channel that gets the mask, for instance production.")],
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Point another channel of the same model and behaviour at the mask that a channel holds.

    The mask's card must say that it passes its gates, for that behaviour and checkpoint. A mask that was rolled back
    from may be promoted again by this command; a schedule does not.

    Example:

      mascing registry promote jailbreak-defence@candidate production
    """
    from mascing.runs import registry as channels
    from mascing.runs.mask_address import find_channel
    from mascing.storage.object_storage import Storage

    opened = Storage.open(storage)
    source = find_channel(opened, channel)
    seen = channels.sibling(opened, source, to)
    _say_moved(seen, channels.promote(opened, source, to, seen, f"promoted from {source.channel} by hand"), storage)


@registry.command()
def rollback(
    channel: ChannelArgument,
    to: Annotated[str | None, typer.Option(metavar="MASK", help="A mask of its history; by default the last.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Point a channel at an earlier mask of its history. The history keeps the mask that it held.

    That mask is withdrawn: a schedule does not promote it again, until a new mask is found or you promote it yourself.
    The card of the earlier one must say that it passes its gates, as for a promotion; if it does not, name another.

    Examples:

      mascing registry rollback jailbreak-defence@production

      mascing registry rollback jailbreak-defence@production --to masks/jailbreak-defence-0123456789abcdef
    """
    from mascing.runs import registry as channels
    from mascing.runs.mask_address import find_channel
    from mascing.storage.object_storage import Storage

    opened = Storage.open(storage)
    seen = find_channel(opened, channel)
    _say_moved(seen, channels.rollback(opened, seen, to), storage)


def _moment(move: Move) -> str:
    return f"{move.at:%Y-%m-%d %H:%M} UTC, {move.by}: {move.why}"


def _say_moved(before: Channel | None, channel: Channel, storage: str) -> None:
    if channel == before:
        echo_prose(f"{channel.address} holds {channel.mask} already: nothing was changed")
    else:
        echo_prose(f"{channel.address} now holds {channel.mask}")
    where = f"{channel.address}{storage_option(storage)}"
    echo_prose(f"next: look at its history: mascing registry history {where}")
    echo_prose(f"next: serve what it holds: mascing serve MODEL --follow {where}")
