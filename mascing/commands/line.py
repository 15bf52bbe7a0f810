"""Run a flow from the command line, and show its progress and results."""

import atexit
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.table import Table

from mascing.commands.outcomes.decision import decision
from mascing.commands.outcomes.tables import print_fitting
from mascing.commands.surroundings.readiness import ready
from mascing.commands.surroundings.stopping import stoppable
from mascing.progress import shown, told_of_losses
from mascing.prose import echo_prose, wrapped
from mascing.runs.run_folder import RunFolder
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.result import Baseline, MethodResult, Rate, Result
from mascing.storage.object_storage import Storage

if TYPE_CHECKING:
    from mascing.flows.starting import Line

Value = TypeVar("Value")

_STOPPED = "stopped: finished stages are kept; the same command goes on from there"


def run_flow(storage: Storage, line: "Line[str]", verbose: bool, option: str) -> None:
    """Run ``line`` under a progress display, and show the results; its value is the name of the run's folder.

    ``option`` is what names the storage in further commands.
    """
    from mascing.runs.finished_run import read_result
    from mascing.runs.run_folder import INDEX

    console, name = run_shown(storage, line, verbose)
    folder = RunFolder(name)
    result = read_result(storage, folder)
    print_fitting(console, *(_table(result, detail) for detail in (2, 1, 0)))
    say(console, f"run: {folder.name}")
    say(console, f"result: {storage.locate(folder.result)}")
    say(console, f"report: {storage.locate(folder.page)}")
    say(console, f"all runs: {storage.locate(INDEX)}")
    if result.lacking:
        *short, remedy = result.lacking
        say_prose(console, f"not enough to learn from, so no mask was searched for: {'; '.join(short)}")
        say_prose(console, f"next: {remedy}")
        return
    for sentence in _scatter(result):
        say_prose(console, sentence)
    for sentence in decision(result, option):
        say_prose(console, sentence)


def run_audit(storage: Storage, line: "Line[str]", verbose: bool) -> None:
    """Run ``line`` under a progress display, and show the curve; its value is the name of the audit's folder."""
    from mascing.report.audit_page import conclusion
    from mascing.runs.finished_run import read_audit
    from mascing.runs.run_folder import INDEX

    console, name = run_shown(storage, line, verbose)
    folder = RunFolder(name)
    audit = read_audit(storage, folder)
    print_fitting(console, _curve(audit))
    say(console, f"audit: {storage.locate(folder.audit)}")
    say(console, f"page: {storage.locate(folder.page)}")
    say(console, f"all runs: {storage.locate(INDEX)}")
    say_prose(console, f"next: open the page; {conclusion(audit)}")


def run_shown(storage: Storage, line: "Line[Value]", verbose: bool, pause: float = 0.0) -> tuple[Console, Value]:
    """Run ``line`` under a progress display; returns the console and its value. ``pause`` as in `shown`."""
    if not verbose:
        _silence_libraries()
    atexit.register(gc.freeze)  # spares Python a last look at all objects, which takes seconds
    console = Console()
    with (
        shown(console, pause) as close,
        stoppable(partial(_say_stopped, console, close)) as fail,
        told_of_losses(lambda line: fail(partial(_say_lost, line, close))),
    ):
        for note in ready():
            say_prose(console, note)
        from mascing.flows.starting import run_line

        return console, run_line(storage, line)


def _silence_libraries() -> None:
    """Keep what libraries say out of the display: errors reach the user once, and warnings say nothing to a user.

    Prefect's console would show each error again, with a traceback. Its server gets all logs.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    logging.raiseExceptions = False  # a log that does not reach Prefect's server is no error of the run
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _say_stopped(console: Console, close: Callable[[], None]) -> None:
    close()
    say_prose(console, _STOPPED)


def _say_lost(line: str, close: Callable[[], None]) -> None:
    close()
    echo_prose(f"error: {line}", sys.stderr)


def _curve(audit: Audit) -> Table:
    """Rate of the audited set by number of suppressed experts."""
    title = f"{audit.behaviour}, {audit.set}: {audit.baseline[audit.set].n} test conversations, % [95% interval]"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for heading in ("off", "ranked"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("random, lowest to highest draw", justify="right")
    table.add_row("0", interval(audit.baseline[audit.set]), "")
    for point in audit.points:
        drawn = sorted(100 * rate.value for rate in point.random)
        table.add_row(str(point.n), interval(point.rates[audit.set]), f"{drawn[0]:.1f} to {drawn[-1]:.1f}")
    return table


def _table(result: Result, intervals: int) -> Table:
    """Baseline and methods, and which gates a method missed.

    ``intervals`` of the uplift (1), and of the target as well (2), say most but take most room.
    """
    from mascing.evidence.gates import gate_text

    title = f"{result.behaviour}: {result.splits.test} test conversations, %{' [95% interval]' if intervals else ''}"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column("method", no_wrap=True)
    for heading in ("target", "uplift", *result.baseline.utility, *result.baseline.protected):
        table.add_column(heading, justify="right", no_wrap=bool(intervals))
    table.add_column("gate")
    target, uplift = (interval if intervals > 1 else percent), (interval if intervals else percent)
    baseline = result.baseline
    table.add_row("baseline", target(baseline.target_rate), "", *_values(baseline), "")
    for name, method in result.methods.items():
        gate = gate_text(method.gate, method.reasons)
        table.add_row(name, target(method.target_rate), uplift(method.uplift), *_values(method), gate)
    return table


def _scatter(result: Result) -> Iterator[str]:
    """Say how far the search seeds of a method differ, if they do."""
    from mascing.evidence.scatter import scatter_text, seeds_differ

    for name, each in (result.trust.seeds if result.trust else {}).items():
        if seeds_differ(each):
            yield f"{scatter_text(name, each)} See How far to trust the methods in the report"


def interval(rate: Rate) -> str:
    """A rate in percent and its interval; a dash if no reply was scored."""
    if rate.unscored == rate.n:
        return percent(rate)
    return f"{percent(rate)} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _values(rates: Baseline | MethodResult) -> list[str]:
    return [percent(rate) for rate in (*rates.utility.values(), *rates.protected.values())]


def percent(rate: Rate) -> str:
    """A rate in percent; a dash if no reply was scored."""
    return "–" if rate.unscored == rate.n else f"{100 * rate.value:.1f}"


def say_prose(console: Console, line: str) -> None:
    """Print a sentence: a terminal wraps it at words, a log keeps it on one line."""
    say(console, wrapped(line, console.width) if console.is_terminal else line)


def say(console: Console, line: str) -> None:
    """Print a line as it is: a path stays on one line, so that it can be copied and found."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
