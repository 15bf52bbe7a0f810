"""Finished runs of a campaign, found without starting anything."""

from mascing.campaigns.folder import CampaignFolder, folder_of, read_failure
from mascing.campaigns.leaderboard import Board, Outcome
from mascing.errors import ConfigError, ConflictError, DamagedError, DataError, ModelError
from mascing.flows.finished_line import found_run
from mascing.models.checkpoints import one_line
from mascing.runs.run_folder import RunFolder
from mascing.schemas.campaign import Campaign, FailedRun, PlannedRun
from mascing.schemas.config import RunConfig
from mascing.schemas.settings.method_settings import MethodsConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.concluding.campaign_board import outcome_of, write_board
from mascing.tasks.running.stage import UnfinishedError


def finished_campaign(campaign: Campaign, storage_url: str) -> str:
    """The name of the campaign's folder, with its leaderboard and page written anew.

    Raises UnfinishedError if a run is not finished, or has failed.
    """
    storage, home = Storage.open(storage_url), folder_of(campaign)
    outcomes = {}
    for run in campaign.runs:
        outcome = found_outcome(storage, home, run)
        if outcome is None or outcome.failed is not None:
            raise UnfinishedError(run.name)
        outcomes[run.name] = outcome
    write_board(storage, home, Board(campaign, outcomes))
    return home.name


def found_outcome(storage: Storage, home: CampaignFolder, run: PlannedRun) -> Outcome | None:
    """What came of a run in earlier starts: its cells, or those of the methods that did not fail; None if nothing did.

    A run that failed is found with its reason, and so is one that left something damaged: it is tried again.
    """
    try:
        return _outcome(storage, home, run)
    except (DataError, DamagedError, ConflictError) as error:
        return Outcome(failed=FailedRun(reason=one_line(error)))


def _outcome(storage: Storage, home: CampaignFolder, run: PlannedRun) -> Outcome | None:
    failed = read_failure(storage, home, run)
    if (folder := _found(storage, run.config)) is not None:
        return outcome_of(storage, home, run, folder, None)
    fewer = without(run.config, tuple(failed.methods)) if failed and failed.methods else None
    if fewer is not None and (folder := _found(storage, fewer)) is not None:
        return outcome_of(storage, home, run, folder, failed)
    return Outcome(failed=failed) if failed else None


def without(config: RunConfig, methods: tuple[str, ...]) -> RunConfig | None:
    """The run without these methods; None if none is left."""
    left = {name: settings for name, settings in config.methods.searched.items() if name not in methods}
    if not left:
        return None
    off = {name: None for name in MethodsConfig.model_fields if name != "random"}
    return config.model_copy(update={"methods": MethodsConfig.model_validate({**off, **left})})


def _found(storage: Storage, config: RunConfig) -> RunFolder | None:
    """The folder of the run if it is finished. Where model or data cannot be read, it is not."""
    try:
        return found_run(config, storage)
    except (UnfinishedError, ConfigError, DataError, ModelError):
        return None
