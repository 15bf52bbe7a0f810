"""The folder of each campaign, `campaigns/<name>-<fingerprint>/`: what lies in it, and which campaigns there are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import yaml
from pydantic import ValidationError

from mascing.errors import ConflictError, DataError
from mascing.progress import Event, tell
from mascing.schemas.base import Frozen
from mascing.schemas.campaign import Campaign, CellResult, FailedRun, PlannedRun, StageSeconds
from mascing.schemas.manifest import Manifest
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json, seal_text

CAMPAIGNS = "campaigns"

Record = TypeVar("Record", bound=Frozen)


@dataclass(frozen=True)
class CampaignFolder:
    """The names of a campaign's files under the storage URL."""

    name: str

    @property
    def prefix(self) -> str:
        """The folder itself."""
        return f"{CAMPAIGNS}/{self.name}"

    @property
    def config(self) -> str:
        """The configuration of the campaign."""
        return f"{self.prefix}/campaign.yaml"

    @property
    def leaderboard(self) -> str:
        """All cells, as far as they are there."""
        return f"{self.prefix}/leaderboard.parquet"

    @property
    def ranking(self) -> str:
        """The methods over all models and behaviours."""
        return f"{self.prefix}/ranking.parquet"

    @property
    def page(self) -> str:
        """The same to look at."""
        return f"{self.prefix}/index.html"

    def cell(self, run: str, method: str) -> str:
        """The result of a method in a run, which is named by its folder: by all that determines the result."""
        return f"{self.prefix}/cells/{run}/{method}.json"

    def failure(self, run: PlannedRun) -> str:
        """Why the last attempt at a run failed."""
        return f"{self.prefix}/failed/{run.name}.json"

    @property
    def seconds(self) -> str:
        """The folder of the times of stages."""
        return f"{self.prefix}/seconds"


@dataclass(frozen=True)
class StoredCampaign:
    """A campaign that was begun, and when its leaderboard was last written (UTC)."""

    folder: CampaignFolder
    written: datetime


def folder_of(campaign: Campaign) -> CampaignFolder:
    """The folder of a campaign; neither placement nor what papers say is part of its name."""
    runs = [{**run.model_dump(), "config": run.config.model_dump(exclude={"compute"})} for run in campaign.runs]
    return CampaignFolder(f"{campaign.config.name}-{fingerprint(runs)}")


def stored_campaigns(storage: Storage) -> list[StoredCampaign]:
    """All campaigns under ``storage``, the latest first."""
    return sorted(_stored(storage), key=lambda found: (found.written, found.folder.name), reverse=True)


def other_versions(storage: Storage, folder: CampaignFolder) -> list[CampaignFolder]:
    """What campaigns of the same name left whose file said something else, the latest first."""
    name, _, _ = folder.name.rpartition("-")
    found = (campaign.folder for campaign in stored_campaigns(storage))
    return [other for other in found if other != folder and other.name.rpartition("-")[0] == name]


def keep_campaign(storage: Storage, folder: CampaignFolder, campaign: Campaign) -> None:
    """Write `campaign.yaml`; it runs the same campaign again."""
    text = yaml.safe_dump(campaign.config.model_dump(mode="json"), sort_keys=False)
    storage.overwrite(folder.config, seal_text(text, ".yaml"))


def keep_cell(storage: Storage, folder: CampaignFolder, cell: CellResult) -> None:
    """Write the result of a cell, once, or in place of a damaged one. Raises ConflictError if another is there."""
    path = folder.cell(cell.run, cell.method)
    try:
        storage.create(path, _sealed(cell))
    except ConflictError:
        if _if_whole(storage, path, CellResult) is not None:
            raise
        storage.overwrite(path, _sealed(cell))


def read_cell(storage: Storage, folder: CampaignFolder, run: str, method: str) -> CellResult | None:
    """The result of a cell, None if it was not written yet or is damaged."""
    return _if_whole(storage, folder.cell(run, method), CellResult)


def keep_failure(storage: Storage, folder: CampaignFolder, run: PlannedRun, failed: FailedRun) -> None:
    """Write why an attempt at a run failed, in place of an earlier one."""
    storage.overwrite(folder.failure(run), _sealed(failed))


def forget_failure(storage: Storage, folder: CampaignFolder, run: PlannedRun) -> None:
    """The run has succeeded since."""
    storage.remove(folder.failure(run))


def read_failure(storage: Storage, folder: CampaignFolder, run: PlannedRun) -> FailedRun | None:
    """Why the last attempt at a run failed, None if it did not or the note is damaged."""
    return _if_whole(storage, folder.failure(run), FailedRun)


def keep_seconds(storage: Storage, folder: CampaignFolder, model: str, manifest: Manifest, seconds: float) -> None:
    """Write how long the attempt took that finished a stage."""
    record = StageSeconds(model=model, stage=manifest.stage, seconds=round(seconds, 3))
    storage.overwrite(f"{folder.seconds}/{manifest.prefix}.json", _sealed(record))


def read_seconds(storage: Storage, folder: CampaignFolder) -> dict[str, StageSeconds]:
    """The times of the stages that the campaign finished, by the prefix of their output."""
    paths = storage.list(folder.seconds)
    found = {path: _if_whole(storage, path, StageSeconds) for path in paths}
    start = len(folder.seconds) + 1
    return {path[start:].removesuffix(".json"): each for path, each in found.items() if each is not None}


def _sealed(record: Frozen) -> bytes:
    return seal_json(record.model_dump_json(indent=1))


def _if_whole(storage: Storage, path: str, schema: type[Record]) -> Record | None:
    """The record; None if it is not there, or damaged: one record must not keep the campaign from going on."""
    try:
        return schema.model_validate_json(open_json(storage.read(path), path))
    except FileNotFoundError:
        return None
    except (DataError, ValidationError):
        tell(Event("campaign", "note", text=f"{storage.locate(path)} is damaged or of another version: not used"))
        return None


def _stored(storage: Storage) -> Iterator[StoredCampaign]:
    for path in storage.list(CAMPAIGNS):
        parts = path.split("/")
        if len(parts) == 3 and parts[2] == "leaderboard.parquet":
            try:
                yield StoredCampaign(CampaignFolder(parts[1]), storage.modified(path))
            except FileNotFoundError:  # deleted since it was listed
                continue
