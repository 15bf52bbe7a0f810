"""What Prefect's page of a run shows of its outcome: results, gates, quarantine, and the link to its report.

Each run has artifacts of its own: keys with the behaviour alone would mix the runs of several models.
"""

import re
from collections.abc import Iterator
from socket import gethostname

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from mascing.runs.finished_run import read_result
from mascing.runs.readers import quarantined_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.finished import RunStages
from mascing.schemas.result import Result
from mascing.storage.object_storage import Storage
from mascing.tasks.conclude import results_table


def show_run(storage: Storage, folder: RunFolder, stages: RunStages) -> None:
    """Show the outcome of a run in its folder."""
    result = read_result(storage, folder)
    create_markdown_artifact(_results(result), key=_key("results", folder), description="test split, 95% intervals")
    if gates := sorted(_gates(result), key=lambda row: row["check"].endswith(" passes")):
        create_table_artifact(gates, key=_key("gates", folder), description="checks of all masks, those missed first")
    if quarantined := quarantined_of(storage, (stages.prepare, stages.label, stages.harvest)):
        create_table_artifact(
            [{"reason": reason, "conversations": count} for reason, count in quarantined.items()],
            key=_key("quarantine", folder),
            description=f"{sum(quarantined.values())} conversations that were set aside, by reason",
        )
    show_report(storage, folder)


def show_report(storage: Storage, folder: RunFolder) -> None:
    """Link to the page of a run or an audit, and say who can open it."""
    page = storage.locate(folder.page)
    if "://" in page:
        where = "opens in a browser that may read the bucket without credentials"
    else:
        where = f"a local file of {gethostname()}: open it there, or keep runs on s3://"
    create_link_artifact(
        storage.web_address(folder.page), key=_key("report", folder), link_text=page, description=f"the report: {where}"
    )


def _results(result: Result) -> str:
    """What came of the run, and the table of its methods."""
    if result.lacking:
        return "\n\n".join(("**No mask was searched for: there is not enough to learn from.**", *result.lacking))
    if result.published is None:
        return f"**No mask was published.**\n\n{results_table(result)}"
    return f"**The mask of {result.published} was published** as `{result.mask}`.\n\n{results_table(result)}"


def _gates(result: Result) -> Iterator[dict[str, str]]:
    """A row for each check of each method: ``target passes``, and the numbers behind it."""
    for name, method in result.methods.items():
        for reason in method.reasons:
            check, _, numbers = reason.partition(": ")
            yield {"method": name, "gate": method.gate, "check": check, "numbers": numbers}


def _key(kind: str, folder: RunFolder) -> str:
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', folder.name.lower())}"
