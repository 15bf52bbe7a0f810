"""Run a flow for somebody at a command line: its environment, its progress, and what came out."""

import os
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from mascing.progress import shown
from mascing.storage import Storage
from schemas.result import Rate, Result

# What the line's services should do where the user has not said otherwise. Read by Prefect, Ray and transformers when
# they are imported, so it must be set before the flows are.
_QUIET_SERVICES = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The first start migrates Prefect's database, which takes longer than its default patience on a small machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}


def run_flow(storage: Storage, start: Callable[[], str], verbose: bool) -> None:
    """Set the services up, run ``start`` under a progress display, and show the results.

    ``start`` imports its flow itself and returns where the report is.
    """
    # Errors reach the user once, from here: at any other level Prefect logs each with a traceback of its own.
    quiet = {"PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL"}
    for name, value in (_QUIET_SERVICES | quiet).items():
        os.environ.setdefault(name, value)
    console = Console()
    with shown(console):
        report = start()
    result = Result.model_validate_json(storage.read("result.json"))
    _show(console, result)
    _say(console, f"result: {storage.locate('result.json')}")
    _say(console, f"report: {report}")
    if result.published is None:
        _say(console, "next: open the report to see which gate each method missed; no mask was published")
    else:
        target = f"{result.behaviour}@candidate"
        _say(console, f"next: open the report, or look at the mask: mascing mask show {target} --storage {storage.url}")


def _show(console: Console, result: Result) -> None:
    sizes = result.splits
    table = Table(title=f"{result.behaviour} of {result.model}, test split ({sizes.test} conversations), 95% intervals")
    utilities = sorted(result.baseline.utility)
    protected = sorted(result.baseline.protected)
    for heading in ("method", "target", "uplift", *utilities, *protected, "gate"):
        table.add_column(heading)
    baseline = result.baseline
    sides = [baseline.utility[name] for name in utilities] + [baseline.protected[name] for name in protected]
    table.add_row("baseline", _rate(baseline.target_rate), "", *(_rate(one) for one in sides), "")
    for name, method in result.methods.items():
        sides = [method.utility[one] for one in utilities] + [method.protected[one] for one in protected]
        gate = "published" if name == result.published else method.gate
        table.add_row(name, _rate(method.target_rate), _rate(method.uplift), *(_rate(one) for one in sides), gate)
    console.print(table)


def _rate(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _say(console: Console, line: str) -> None:
    # Paths stay on one line, so that they can be copied and found.
    console.print(line, soft_wrap=True, highlight=False, markup=False)
