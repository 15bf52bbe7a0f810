"""The order of the stages, whoever starts them: Prefect's tasks, or plain calls where all work is done.

Stages pass on their manifests, so any machine that can read the storage URL can resume a run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from mascing.evidence.sufficiency import lacking
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Audited, Labelled, Prepared, RunStages, TestbedBuilt
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.evaluate import evaluate
from mascing.tasks.gate import gate
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label, refuse_unpublishable
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.publish import publish
from mascing.tasks.robustness import robustness
from mascing.tasks.running.stage import Finished
from mascing.tasks.selecting import select
from mascing.tasks.suppress import audit
from mascing.tasks.testbed import testbed
from mascing.tasks.train import train
from mascing.tasks.workers.pool import Pool
from mascing.testbeds.planted.demo_config import demo_config

M = TypeVar("M", bound=Manifest)
P = ParamSpec("P")


class Start(Protocol):
    """Makes of a stage what runs it: it takes a storage URL instead of the storage, and the same other arguments."""

    def __call__(
        self, stage: Callable[Concatenate[Storage, P], Finished[M]], /
    ) -> Callable[Concatenate[str, P], Finished[M]]:
        """What runs ``stage``."""


@dataclass(frozen=True)
class Done:
    """The finished stages of a run, and the seconds that each took in it."""

    stages: RunStages
    seconds: dict[str, float]


def whole_line(
    start: Start, pool: Pool, config: RunConfig, storage_url: str, built: Finished[TestbedBuilt] | None = None
) -> Done:
    """From prepare to publish; only to label where the labels leave too little to learn from.

    Raises ConfigError after label if no mask can pass the gates. ``built`` is the stage that made the model, or None if
    no stage made it.
    """
    seconds: dict[str, float] = {}
    manifests: dict[str, Manifest] = {}

    def kept(finished: Finished[M]) -> M:
        stage = finished.manifest.stage
        seconds[stage], manifests[stage] = finished.seconds, finished.manifest
        return finished.manifest

    if built is not None:
        kept(built)
    prepared = kept(start(prepare)(storage_url, config))
    labelled = kept(start(label)(storage_url, config, prepared, pool=pool))
    if not lacking(labelled.facts, config):
        if built is None:  # a testbed is made to be looked at, whatever it can show
            refuse_unpublishable(Storage.open_to_read(storage_url), config, prepared, labelled)
        harvested = kept(start(harvest)(storage_url, config, labelled, pool=pool))
        trained = kept(start(train)(storage_url, config, labelled, harvested, pool=pool))
        optimised = kept(start(optimise)(storage_url, config, labelled, harvested, trained, pool=pool))
        selected = kept(start(select)(storage_url, config, labelled, harvested, optimised, pool=pool))
        evaluated = kept(start(evaluate)(storage_url, config, labelled, selected, pool=pool))
        tested = kept(start(robustness)(storage_url, config, prepared, labelled, selected, evaluated, pool=pool))
        gated = kept(start(gate)(storage_url, config, prepared, trained, selected, evaluated, tested))
        kept(start(publish)(storage_url, config, prepared, harvested, selected, gated))
    return Done(RunStages.model_validate(manifests), seconds)


def label_line(start: Start, pool: Pool, config: RunConfig, storage_url: str) -> Labelled:
    """The line up to the labels: prepare and label."""
    return prepared_and_labelled(start, pool, config, storage_url)[1]


def prepared_and_labelled(start: Start, pool: Pool, config: RunConfig, storage_url: str) -> tuple[Prepared, Labelled]:
    """The same, for whoever reads the conversations as they were brought too."""
    prepared = start(prepare)(storage_url, config).manifest
    return prepared, start(label)(storage_url, config, prepared, pool=pool).manifest


def audit_line(start: Start, pool: Pool, config: RunConfig, storage_url: str) -> Audited:
    """The audit of one model and one behaviour: prepare, label, harvest, audit."""
    labelled = label_line(start, pool, config, storage_url)
    harvested = start(harvest)(storage_url, config, labelled, pool=pool).manifest
    return start(audit)(storage_url, config, labelled, harvested, pool=pool).manifest


def on_testbed(
    start: Start, behaviour: str, level: int, seed: int, storage_url: str
) -> tuple[RunConfig, Finished[TestbedBuilt]]:
    """The testbed, trained if it does not exist yet, and the configuration of a run on it."""
    built = start(testbed)(storage_url, level, seed)
    folder = Storage.open(storage_url).locate(built.manifest.prefix)
    return demo_config(behaviour, seed, folder, level), built
