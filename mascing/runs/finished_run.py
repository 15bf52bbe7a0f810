"""The last run under a storage URL: its configuration, and the manifest of each finished stage."""

from collections.abc import Mapping

from mascing.errors import DataError
from mascing.schemas.base import Frozen
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import MANIFESTS, RunStages
from mascing.schemas.manifest import Manifest
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage

RUN_INPUTS = "report/inputs.json"


class RunInputs(Frozen):
    """`report/inputs.json`: the configuration of the run, and the prefix of each stage's manifest."""

    run_config: RunConfig
    stages: dict[str, str]


def stages_at(storage: Storage, prefixes: Mapping[str, str]) -> RunStages:
    """The manifests under ``prefixes``, by stage. Raises DataError if one is missing, StorageError if it is damaged."""
    return RunStages.model_validate({stage: _manifest(storage, stage, prefix) for stage, prefix in prefixes.items()})


def _manifest(storage: Storage, stage: str, prefix: str) -> Manifest:
    try:
        return read_manifest(storage, prefix, MANIFESTS[stage])
    except FileNotFoundError as error:
        raise DataError(
            f"{storage.locate(prefix)} holds no manifest any more: run again, finished stages are not repeated"
        ) from error
    except KeyError as error:
        raise DataError(f"{storage.locate(prefix)} is of no stage that this version knows: run again") from error
