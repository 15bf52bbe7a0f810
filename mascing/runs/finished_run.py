"""What a finished run left in its folder: its numbers, its configuration, and the manifest of each stage."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from mascing.errors import DataError
from mascing.runs.run_folder import RunFolder
from mascing.schemas.base import Frozen
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import MANIFESTS, RunStages
from mascing.schemas.manifest import Manifest
from mascing.schemas.result import Result
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json

Record = TypeVar("Record", bound=Frozen)


class RunInputs(Frozen):
    """`inputs.json`: the configuration of the run, and the prefix of each stage's manifest."""

    run_config: RunConfig
    stages: dict[str, str]


def read_result(storage: Storage, run: RunFolder) -> Result:
    """The numbers of a run. Raises DataError if there are none that this version can read."""
    return _record(storage, run.result, Result)


def read_audit(storage: Storage, run: RunFolder) -> Audit:
    """The numbers of an audit. Raises DataError if there are none that this version can read."""
    return _record(storage, run.audit, Audit)


def read_inputs(storage: Storage, run: RunFolder) -> RunInputs:
    """What a report needs to find the stages of a run. Raises DataError if this version cannot read it."""
    return _record(storage, run.inputs, RunInputs)


def stages_at(storage: Storage, prefixes: Mapping[str, str]) -> RunStages:
    """The manifests under ``prefixes``, by stage. Raises DataError if one is missing, StorageError if it is damaged."""
    return RunStages.model_validate({stage: _manifest(storage, stage, prefix) for stage, prefix in prefixes.items()})


def write_record(storage: Storage, path: str, record: Frozen) -> None:
    """Write one of the files that the functions above read, sealed."""
    storage.overwrite(path, seal_json(record.model_dump_json(indent=1)))


def _record(storage: Storage, path: str, schema: type[Record]) -> Record:
    try:
        data = storage.read(path)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {path} under {storage.url}: make the run again, with `mascing demo` or `mascing run`"
        ) from error
    try:
        return schema.model_validate_json(open_json(data, storage.locate(path)))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its first character"
        raise DataError(
            f"{storage.locate(path)} is not what this version of mascing writes (at {where}): "
            "run again with `mascing demo` or `mascing run`"
        ) from error


def _manifest(storage: Storage, stage: str, prefix: str) -> Manifest:
    try:
        return read_manifest(storage, prefix, MANIFESTS[stage])
    except FileNotFoundError as error:
        raise DataError(
            f"{storage.locate(prefix)} holds no manifest any more: run again, finished stages are not repeated"
        ) from error
    except KeyError as error:
        raise DataError(f"{storage.locate(prefix)} is of no stage that this version knows: run again") from error
