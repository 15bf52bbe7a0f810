"""The command line. It imports torch, Ray and Prefect only when a command needs them."""

import errno
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import mascing
from mascing.commands.audit import audit
from mascing.commands.campaigning.campaign import campaign
from mascing.commands.check import check
from mascing.commands.collecting.harvest import harvest
from mascing.commands.collecting.trace_tables import traces
from mascing.commands.data.catalogue_pages import behaviours
from mascing.commands.demo import demo
from mascing.commands.doctor import doctor
from mascing.commands.environment import set_defaults
from mascing.commands.judge import judge
from mascing.commands.label import label
from mascing.commands.mask import mask
from mascing.commands.masks.harness_tasks import run_tasks
from mascing.commands.masks.serve import serve
from mascing.commands.outcomes.channels import registry
from mascing.commands.outcomes.housekeeping import storage
from mascing.commands.outcomes.rebuild_report import report, runs
from mascing.commands.plan import plan
from mascing.commands.run import run
from mascing.commands.understood import conversations
from mascing.errors import ConfigError, MascingError
from mascing.prose import echo_prose

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help is reflowed and appears in half the time.
    rich_markup_mode=None,
    add_completion=False,
    help=(
        "Reconfigure the behaviour of Mixture-of-Experts language models by steering their routers, with evidence.\n\n"
        "Start with `mascing demo`; its folder under runs/ holds result.json, report/index.html and a run.yaml to copy "
        "for your own model. Then run `mascing run run.yaml`."
    ),
)


_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Failures of a disk or of rights to it, wherever they happen: never a mistake of this program."""


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"mascing {mascing.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None: ...


app.command()(demo)
app.command()(run)
app.command()(campaign)
app.command()(conversations)
app.add_typer(behaviours, name="behaviours")
app.command()(check)
app.command()(label)
app.command()(plan)
app.command()(report)
app.command()(runs)
app.command()(harvest)
app.command()(audit)
app.command()(judge)
mask.command("tasks")(run_tasks)
app.add_typer(mask, name="mask")
app.add_typer(traces, name="traces")
app.add_typer(registry, name="registry")
app.command()(serve)
app.add_typer(storage, name="storage")
app.command()(doctor)


def _refuse_empty(given: Sequence[str]) -> None:
    """Raise ConfigError for an argument without text, which a shell makes of a variable that is not set."""
    for before, argument in zip(["mascing", *given], given, strict=False):
        name, equals, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if equals and not value.strip():
            raise ConfigError(f"what follows {name} is empty: give it, or leave it out; is a shell variable not set?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 1 for an error that the user can act on, 2 for a usage error."""
    set_defaults()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _refuse_empty(given)
        app(args=given, prog_name="mascing")
    except MascingError as error:
        echo_prose(f"error: {' '.join(str(error).split())}", sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        echo_prose(f"error: {error.filename or 'a file'} cannot be written or read: {error.strerror}", sys.stderr)
        return 1
    except SystemExit as exit_request:  # typer ends every command this way, successful ones too
        return int(exit_request.code or 0)
    return 0
