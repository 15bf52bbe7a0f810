"""The folder of each run, `runs/<behaviour>-<model>-<fingerprint>/`: what lies in it, and which runs there are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mascing.errors import DataError
from mascing.models.checkpoint_names import flat_name
from mascing.storage.object_storage import Storage

RUNS = "runs"
INDEX = "index.html"
"""The page at the root that lists all runs."""


@dataclass(frozen=True)
class RunFolder:
    """The names of a run's files under the storage URL.

    A run leaves `result.json`, an audit `audit.json`. Equal runs have one folder, since its name holds the fingerprint
    of the run's last stage: model, data and settings, but not placement.
    """

    name: str

    @property
    def prefix(self) -> str:
        """The folder itself."""
        return f"{RUNS}/{self.name}"

    @property
    def config(self) -> str:
        """The configuration of the run."""
        return f"{self.prefix}/run.yaml"

    @property
    def inputs(self) -> str:
        """The prefix of each stage's manifest, and the configuration."""
        return f"{self.prefix}/inputs.json"

    @property
    def result(self) -> str:
        """The numbers of a run."""
        return f"{self.prefix}/result.json"

    @property
    def unproven(self) -> str:
        """The folder of the strongest mask and its card, if the run published none."""
        return f"{self.prefix}/unproven"

    @property
    def audit(self) -> str:
        """The numbers of an audit."""
        return f"{self.prefix}/audit.json"

    @property
    def page(self) -> str:
        """The same to look at."""
        return f"{self.prefix}/report/index.html"


@dataclass(frozen=True)
class StoredRun:
    """A finished run or audit, and when its numbers were last written (UTC)."""

    folder: RunFolder
    is_audit: bool
    written: datetime

    @property
    def again(self) -> str:
        """The command, in the folder of the storage, that does the same again."""
        return f"mascing {'audit' if self.is_audit else 'run'} {self.folder.config} --storage ."


def run_folder(behaviour: str, model: str, fingerprint: str) -> RunFolder:
    """The folder of the run whose last stage has this fingerprint."""
    return RunFolder(f"{behaviour}-{flat_name(model)}-{fingerprint}")


def stored_runs(storage: Storage) -> list[StoredRun]:
    """All finished runs and audits under ``storage``, the latest first."""
    return sorted(_stored(storage), key=lambda run: (run.written, run.folder.name), reverse=True)


def find_run(storage: Storage, name: str | None = None) -> StoredRun:
    """The run of this name, or the latest where no name is given. Raises DataError if there is none."""
    runs = stored_runs(storage)
    if not runs:
        raise DataError(
            f"there is no finished run under {storage.url}: make a run there first, with `mascing demo` or "
            "`mascing run`"
        )
    wanted = runs[0].folder.name if name is None else name.strip("/").removeprefix(f"{RUNS}/")
    for run in runs:
        if run.folder.name == wanted:
            return run
    names = ", ".join(run.folder.name for run in runs)
    raise DataError(f"there is no run {wanted} under {storage.url}; there are: {names}")


def _stored(storage: Storage) -> Iterator[StoredRun]:
    for path in storage.list(RUNS):
        parts = path.split("/")
        if len(parts) != 3 or parts[2] not in ("result.json", "audit.json"):
            continue
        try:
            yield StoredRun(RunFolder(parts[1]), parts[2] == "audit.json", storage.modified(path))
        except FileNotFoundError:  # deleted since it was listed
            continue
