"""`mascing check`: all that can be known of a run before anything is started; `run` and `label` begin with it."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mascing.preflight.checks import Preflight
    from mascing.preflight.rows import Rows
    from mascing.schemas.config import BehaviourConfig, RunConfig
    from mascing.storage.object_storage import Storage

_SHOWN = 12


def check(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="The configuration of the run.")],
) -> None:
    """Check a run in a second, before anything is started: its model, machine, rows and gates.

    Says which engine replies and whether it can load the model, how many rows each set has in each split, which rows
    are set aside and why, whether replies fit the token limit and conversations the context, whether the machine has
    the memory and the GPUs, and whether the gates can pass at all. Loads no weights, starts neither Ray nor Prefect,
    and writes nothing. Exits with 1 if it finds a reason for which `mascing run` would stop. The storage, the folders
    and the settings of Ray and Prefect are looked at by `mascing doctor`, and by the run itself before it starts them.

    Example:

      mascing check run.yaml
    """
    from rich.console import Console

    from mascing.commands.line import say_prose
    from mascing.commands.outcomes.tables import print_fitting
    from mascing.config import load_config
    from mascing.preflight.checks import preflight

    loaded = load_config(config)
    found, console = preflight(loaded), Console()
    # What stops a run comes first, so that nobody has to look for it.
    for line in (*(f"problem: {problem}" for problem in found.problems), *map(str, found.hopeless)):
        say_prose(console, line)
    for line in _described(found, loaded):
        say_prose(console, line)
    if found.rows is not None and found.rows.used:
        print_fitting(console, _table(found.rows))
        for line in _set_aside(found.rows, loaded):
            say_prose(console, line)
    foretold = found.prospects.lines if found.prospects else []
    for line in (*foretold, *(f"note: {note}" for note in found.notes)):
        say_prose(console, line)
    say_prose(console, f"next: {_next(found, loaded, config)}")
    if found.problems or (found.hopeless and not loaded.allow_unpublishable):
        raise typer.Exit(1)


def _next(found: "Preflight", config: "RunConfig", path: str) -> str:
    """The first thing to mend, or the commands that follow."""
    if found.problems:
        n = len(found.problems)
        first = "problem above" if n == 1 else f"first of the {n} problems above"
        return f"mend the {first}, as it says, then mascing check {path}"
    if found.hopeless and not config.allow_unpublishable:
        return (
            f"{found.hopeless[0].mend}, then mascing check {path}; or look at what masks do without publishing one: "
            f"mascing run {path} --allow-unpublishable"
        )
    following = f"mascing label {path}, or mascing run {path}"
    if found.prospects and (few := found.prospects.too_few):
        names = ", ".join(each.name for each in few)
        return f"bring more rows of {names} if you can: so few pass by luck or a large effect; then {following}"
    return following


def refuse_doomed(console: "Console", storage: "Storage", config: "RunConfig") -> None:
    """Check a run before it starts, and tell what is worth knowing.

    Raises ConfigError if it cannot work; and, unless the configuration allows it, if no mask could be published.
    """
    from mascing.commands.line import say_prose
    from mascing.errors import ConfigError
    from mascing.evidence.foregone import unpublishable
    from mascing.preflight.checks import preflight

    found = preflight(config)
    if not found.problems and (config.allow_unpublishable or not found.hopeless):
        few = found.prospects.too_few if found.prospects else []
        for note in (*found.notes, *(f"on test, {each} (mascing plan says for which effect)" for each in few)):
            say_prose(console, f"note: {note}")
    if found.problems:
        raise ConfigError(f"{'; '.join(found.problems)}{_left(found, storage, config)}")
    if found.hopeless and not config.allow_unpublishable:
        raise ConfigError(unpublishable(found.hopeless))


def _left(found: "Preflight", storage: "Storage", config: "RunConfig") -> str:
    """Where the rows lie that are set aside, to end the sentence of an error."""
    if found.model is None or found.rows is None or not found.rows.quarantined:
        return ""
    from mascing.tasks.prepare import leave_quarantine

    return f" ({leave_quarantine(storage, config, found.rows.quarantined)} has all reasons)"


def _described(found: "Preflight", config: "RunConfig") -> Iterator[str]:
    """The model, the machine and the file, one line each."""
    from mascing.models.checkpoints import model_name

    if found.model is not None:
        context = f"context {found.model.context} tokens" if found.model.context else "context not stated"
        yield f"model     {model_name(config.model)}: {found.model.type}, {context}"
    if found.machine is not None:
        yield f"engine    {found.machine.engine}"
        yield f"wanted    {found.machine.wanted}"
        yield f"there     {found.machine.there}"
    if found.rows is not None:
        reading = found.rows.reading
        of_all, file = f"{found.rows.used} of {found.rows.total}", _file(config.behaviour)
        yield f"rows      {of_all} in {file} can be used ({reading.format}, layout {reading.layouts})"
        for note in reading.notes:
            yield f"note: {note}"


def _file(behaviour: "BehaviourConfig") -> str:
    return PurePath(behaviour.origin).name if isinstance(behaviour.conversations, str) else behaviour.origin


def _table(rows: "Rows") -> "Table":
    """Rows and groups by set and split."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("rows (groups)", no_wrap=True)
    for split in rows.sets:
        table.add_column(split, justify="right", no_wrap=True)
    names = {name for sets in rows.sets.values() for name in sets}
    for name in sorted(names, key=lambda name: (name != "target", name)):
        table.add_row(
            name, *(f"{sets[name]} ({len(rows.groups[split].get(name, ()))})" for split, sets in rows.sets.items())
        )
    return table


def _set_aside(rows: "Rows", config: "RunConfig") -> Iterator[str]:
    """One line for each kind of reason."""
    from mascing.conversations.intake.reasons import Reasons

    if not rows.quarantined:
        return
    yield (
        f"set aside {len(rows.quarantined)} of {rows.total} rows "
        f"({100 * len(rows.quarantined) / rows.total:.1f}%; a run stops above {100 * config.max_quarantined:g}%)"
    )
    reasons = Reasons()
    for row in rows.quarantined:
        reasons.add(row)
    for reason in reasons.most_frequent()[:_SHOWN]:
        yield f"  {reason.told(rows.reading.unit)}"
