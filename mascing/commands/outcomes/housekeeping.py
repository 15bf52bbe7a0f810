"""`mascing storage verify | gc`: prove that what is stored is whole, and delete what no finished run needs."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, storage_option
from mascing.errors import StorageError
from mascing.prose import counted, echo_prose

if TYPE_CHECKING:
    from mascing.runs.upkeep.garbage import Garbage
    from mascing.storage.object_storage import Storage

storage = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=(
        "Prove that what is stored is whole, and delete what no finished run needs.\n\n"
        "Every file of a run carries its SHA-256 or is named with it in a manifest, so that damage is noticed whenever "
        "it is read. `verify` reads all of it at once; `gc` deletes what killed runs left and what no manifest names."
    ),
)


@storage.command()
def verify(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Read everything again and compare it with its SHA-256.

    Checks what manifests name, tables that none names yet, and results and channels. Pages and settings carry nothing
    to check. Prints a line for each object that is missing or damaged, with what to do, and exits with 1 if there is
    one.

    Examples:

      mascing storage verify

      mascing storage verify --storage s3://bucket/mascing
    """
    from mascing.runs.upkeep.verification import verify as verified

    opened = _open_used(storage)
    with _progress("verify") as progress:
        found = verified(opened, progress)
    for line in found.damaged:
        echo_prose(f"damaged  {line}")
    checked = f"{counted(found.objects, 'object')} checked, {_size(found.bytes)}"
    echo_prose(f"{checked}; {found.unchecked} more carry nothing to check")
    if found.damaged:
        echo_prose(f"next: mend what is damaged above ({len(found.damaged)}), then verify again")
        raise typer.Exit(1)
    echo_prose(f"next: see what no finished run needs: mascing storage gc{storage_option(storage)}")


@storage.command()
def gc(
    storage: StorageOption = DEFAULT_STORAGE,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this it is only listed.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0.0, help="Leave alone what is younger.")
    ] = 1.0,
) -> None:
    """List what no finished run needs, or delete it.

    That is: objects of a finished stage that its manifest does not name; stages that nobody finished and nobody wrote
    to lately; traces, replies, verdicts, readings and trials that no manifest names; and what killed writers left:
    temporary files, locks, uncompleted uploads, leases. A run or collection that was stopped goes on from its
    unfinished stages and pieces, if the same command is started again before they are deleted. Runs, channels, pages
    and files that are not of a run are never touched. While a run holds a living lease, unfinished stages and pieces
    stay.

    Examples:

      mascing storage gc --older-than 7

      mascing storage gc --delete --storage s3://bucket/mascing
    """
    from mascing.runs.upkeep.garbage import collect_garbage, find_garbage
    from mascing.storage.object_storage import Storage

    age = timedelta(days=older_than)
    opened = _open_used(storage)
    if delete:
        with _progress("delete") as progress:
            found = collect_garbage(Storage.open(storage), age, progress)
    else:
        with _progress("look"):
            found = find_garbage(opened, age)
    _print_garbage(found.garbage)
    for holder in found.at_work:
        echo_prose(f"{holder} is at work here: unfinished stages, traces and replies were left alone")
    resumable = [each for each in found.garbage if each.may_be_resumed]
    if delete:
        echo_prose(f"deleted {_sum(found.garbage)}")
        echo_prose(f"next: mascing storage verify{storage_option(storage)}")
    elif found.garbage:
        days = "" if older_than == 1.0 else f" --older-than {older_than:g}"
        echo_prose(f"listed {_sum(found.garbage)}; nothing was deleted")
        if resumable:
            echo_prose(
                f"of these, {_sum(resumable)}, may be work of a run or collection that was stopped: "
                "the same command goes on from it, and does it again once it is deleted"
            )
        first = "start again what was stopped, then delete what is left" if resumable else "delete them"
        echo_prose(f"next: {first}: mascing storage gc --delete{days}{storage_option(storage)}")
    else:
        echo_prose(f"nothing to delete that is older than {counted(older_than, 'day')}")
        echo_prose(f"next: mascing runs{storage_option(storage)}")


def _open_used(url: str) -> "Storage":
    """Open a storage to read it; a mistyped URL is an error, not a storage in which all is well."""
    from mascing.storage.object_storage import Storage

    opened = Storage.open_to_read(url)
    if opened.is_unused():
        raise StorageError(f"nothing is stored under {opened.url}: name with --storage where runs were stored")
    return opened


def _print_garbage(garbage: Sequence["Garbage"]) -> None:
    from mascing.commands.outcomes.tables import print_table

    numbers: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for each in garbage:
        numbers[each.folder, each.why] += 1
        sizes[each.folder, each.why] += each.stored.bytes
    if garbage:
        rows = [(*key, str(numbers[key]), _size(sizes[key])) for key in sorted(numbers)]
        print_table(("folder", "why", "objects", "size"), rows)


def _sum(garbage: Sequence["Garbage"]) -> str:
    return f"{counted(len(garbage), 'object')}, {_size(sum(each.stored.bytes for each in garbage))}"


@contextmanager
def _progress(work: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far the work is while the block runs; yields what is told of it."""
    from rich.console import Console

    from mascing.progress import Event, shown, tell

    with shown(Console()) as close:
        yield lambda done, total: tell(Event(work, "step", done=done, total=total))
        close()


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
