"""What came of a campaign, on a terminal or in a log."""

from typing import TYPE_CHECKING, Any

from mascing.campaigns.folder import CampaignFolder
from mascing.evidence.results import CONTROL
from mascing.storage import parquet
from mascing.storage.object_storage import Storage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = dict[str, Any]


def print_results(console: "Console", storage: Storage, folder: CampaignFolder, again: str) -> bool:
    """Print the mean uplifts, the ranking and what failed; returns whether something failed.

    ``again`` is the command that tries it again.
    """
    from mascing.commands.line import say, say_prose
    from mascing.commands.outcomes.tables import print_fitting

    rows = parquet.from_bytes(storage.read(folder.leaderboard), folder.leaderboard).to_pylist()
    ranking = parquet.from_bytes(storage.read(folder.ranking), folder.ranking).to_pylist()
    print_fitting(console, _uplifts(rows))
    for each in ranking:
        say_prose(console, _ranked(each, len(ranking)))
    failed = [row for row in rows if row["state"] == "failed" and row["method"] != CONTROL]
    for reason, cells in _together(failed).items():
        say_prose(console, f"failed: {', '.join(cells)}: {reason}")
    say(console, f"leaderboard: {storage.locate(folder.leaderboard)}")
    say(console, f"page: {storage.locate(folder.page)}")
    say_prose(console, f"next: {f'mend what failed, then {again}' if failed else 'open the page'}")
    return bool(failed)


def _uplifts(rows: list[Row]) -> "Table":
    """Mean uplift over the seeds by model, behaviour and method, and the decisions."""
    from rich.table import Table

    methods = list(dict.fromkeys(row["method"] for row in rows))
    title = "uplift on test in points, mean over seeds; passed gates of finished cells"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column("behaviour", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for method in methods:
        table.add_column(method, justify="right", no_wrap=True)
    for behaviour, model in dict.fromkeys((row["behaviour"], row["model"]) for row in rows):
        of_task = [row for row in rows if (row["behaviour"], row["model"]) == (behaviour, model)]
        table.add_row(behaviour, model, *(_cell([row for row in of_task if row["method"] == name]) for name in methods))
    return table


def _cell(rows: list[Row]) -> str:
    finished = [row for row in rows if row["state"] == "finished"]
    if not finished:
        return "failed" if any(row["state"] == "failed" for row in rows) else "–"
    passed = sum(row["decision"] == "pass" for row in finished)
    return f"{100 * finished[0]['uplift_mean']:+.1f} {passed}/{len(finished)}"


def _ranked(each: Row, methods: int) -> str:
    return (
        f"{each['method']}: mean rank {each['mean_rank']:.2f} of {methods} "
        f"[{each['mean_rank_low']:.2f}, {each['mean_rank_high']:.2f}], mean uplift {100 * each['mean_uplift']:+.1f} "
        f"[{100 * each['mean_uplift_low']:+.1f}, {100 * each['mean_uplift_high']:+.1f}], passes its gates in "
        f"{each['passed']} of {each['cells']} cells"
    )


def _together(failed: list[Row]) -> dict[str, list[str]]:
    """The cells of each reason, without the control, which fails with its run."""
    reasons: dict[str, list[str]] = {}
    for row in failed:
        reasons.setdefault(row["reason"], []).append(
            f"{row['method']} for {row['behaviour']} on {row['model']}, seed {row['seed']}"
        )
    return reasons
