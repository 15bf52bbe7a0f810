"""A run with nothing left to do: read what its stages left and report on it, without Prefect and without Ray.

Each function does what the flow of the same line would do. It raises UnfinishedError at the first unfinished stage.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from mascing.errors import ConfigError, ConflictError, DamagedError, DataError, ModelError
from mascing.flows.order import Done, audit_line, label_line, on_testbed, whole_line
from mascing.models.checkpoints import pinned, with_pinned_model
from mascing.progress import held_back, tell, waiting_for
from mascing.runs.run_folder import RunFolder
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Audited, Collected, Labelled, TestbedBuilt
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.collecting.collect import collect
from mascing.tasks.collecting.take_in import intake
from mascing.tasks.conclude import conclude, folder_of
from mascing.tasks.running.stage import Finished, UnfinishedError, only_finished
from mascing.tasks.suppress import write_audit
from mascing.tasks.workers.pool import Pool

M = TypeVar("M", bound=Manifest)
P = ParamSpec("P")


def finished_run(config: RunConfig, storage_url: str) -> str:
    """The name of the run's folder, with its result and page written anew."""
    with _looking():
        config, done = _found(config, storage_url)
    return _concluded(config, storage_url, done)


def found_run(config: RunConfig, storage: Storage) -> RunFolder:
    """The folder of a finished run, and nothing told; what the run left in it stays as it is, if it is there."""
    with held_back(), only_finished():
        config, done = _found(config, storage.url)
        folder = folder_of(config, done.stages)
        if not (storage.exists(folder.result) and storage.exists(folder.inputs)):
            conclude(storage, config, done.stages, done.seconds)
    return folder


def found_stages(config: RunConfig, storage: Storage) -> tuple[frozenset[str], bool]:
    """The stages of a run that are finished, up to the first that is not, and whether nothing is left.

    Tells and writes nothing. Of a model or data that cannot be read, and behind a damaged stage, nothing is found.
    """
    found: set[str] = set()

    def start(stage: Callable[Concatenate[Storage, P], Finished[M]]) -> Callable[Concatenate[str, P], Finished[M]]:
        def noted(_: str, /, *arguments: P.args, **options: P.kwargs) -> Finished[M]:
            finished = stage(storage, *arguments, **options)
            found.add(finished.manifest.stage)
            return finished

        return noted

    try:
        with held_back(), only_finished():
            config = with_pinned_model(config)
            whole_line(start, Pool(config.compute), config, storage.url)
    except (UnfinishedError, ConfigError, DataError, ModelError, ConflictError, DamagedError):
        return frozenset(found), False
    return frozenset(found), True


def finished_demo(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """`finished_run` for the testbed."""
    with _looking():
        config, built = on_testbed(_plainly, behaviour, level, seed, storage_url)
        config, done = _found(config, storage_url, built)
    return _concluded(config, storage_url, done)


def finished_labels(config: RunConfig, storage_url: str) -> Labelled:
    """The finished label stage."""
    config = with_pinned_model(config)
    with _looking():
        return label_line(_plainly, Pool(config.compute), config, storage_url)


def finished_audit(config: RunConfig, storage_url: str) -> str:
    """The name of the audit's folder, with its curve and page written anew."""
    with _looking():
        config, audited = _audited(config, storage_url)
    return write_audit(Storage.open(storage_url), config, audited).name


def finished_testbed_audit(behaviour: str, level: int, seed: int, storage_url: str) -> str:
    """`finished_audit` for the testbed."""
    with _looking():
        config, _ = on_testbed(_plainly, behaviour, level, seed, storage_url)
        config, audited = _audited(config, storage_url)
    return write_audit(Storage.open(storage_url), config, audited).name


def finished_collection(config: CollectionConfig, storage_url: str) -> Collected:
    """The finished traces of a collection."""
    config = config.model_copy(update={"model": pinned(config.model)})
    with _looking():
        taken = _plainly(intake)(storage_url, config).manifest
        return _plainly(collect)(storage_url, config, taken, pool=Pool(config.compute)).manifest


def _found(config: RunConfig, storage_url: str, built: Finished[TestbedBuilt] | None = None) -> tuple[RunConfig, Done]:
    config = with_pinned_model(config)
    return config, whole_line(_plainly, Pool(config.compute), config, storage_url, built)


def _audited(config: RunConfig, storage_url: str) -> tuple[RunConfig, Audited]:
    config = with_pinned_model(config)
    return config, audit_line(_plainly, Pool(config.compute), config, storage_url)


def _concluded(config: RunConfig, storage_url: str, done: Done) -> str:
    return conclude(Storage.open(storage_url), config, done.stages, done.seconds).name


def _plainly(stage: Callable[Concatenate[Storage, P], Finished[M]]) -> Callable[Concatenate[str, P], Finished[M]]:
    """The stage as a plain function of a storage URL."""

    def run(storage_url: str, /, *arguments: P.args, **options: P.kwargs) -> Finished[M]:
        return stage(Storage.open(storage_url), *arguments, **options)

    return run


@contextmanager
def _looking() -> Iterator[None]:
    """Forbid work; tell what finished stages tell only once all are found, since a flow would tell it again."""
    with waiting_for("looking for finished stages"), held_back() as events, only_finished():
        yield
    for event in events:
        tell(event)
