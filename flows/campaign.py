"""A campaign: the line for each of its runs, one model after the other, so that each is loaded once.

What fails is set aside with its reason, and the rest goes on: a run, or a method of a run.
"""

import errno
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from tempfile import gettempdir
from typing import Concatenate, ParamSpec, TypeVar

import httpx
from prefect import flow

from mascing.campaigns import folder as stored
from mascing.campaigns.folder import CampaignFolder, folder_of
from mascing.campaigns.leaderboard import Board, Outcome
from mascing.campaigns.used_judges import judges_of, refuse_unless, wrongly_read
from mascing.config import load_campaign
from mascing.errors import ConfigError, ConflictError, DamagedError, MascingError, ModelError, ServerError, StorageError
from mascing.evidence.foregone import unpublishable
from mascing.flows.campaign_found import found_outcome, without
from mascing.flows.order import Start
from mascing.flows.pages.run_page import tag_run
from mascing.flows.reconfigure import reconfigure_on
from mascing.flows.stage_tasks import LINE, stage_task
from mascing.models.checkpoints import one_line, pinned
from mascing.preflight.checks import preflight
from mascing.progress import Event, tell, waiting_for
from mascing.runs.run_folder import RunFolder
from mascing.schemas.campaign import Campaign, FailedRun, PlannedRun
from mascing.schemas.config import RunConfig
from mascing.schemas.manifest import Manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.concluding.campaign_board import keep_outcome, outcome_of, write_board
from mascing.tasks.running.stage import Finished
from mascing.tasks.searching.blame import blamed, blaming
from mascing.tasks.workers.pool import Pool
from mascing.tasks.workers.work_queue import WorkerDiedError

M = TypeVar("M", bound=Manifest)
P = ParamSpec("P")


@flow(name="campaign", flow_run_name="{path}", **LINE)
def campaign(path: str, storage_url: str) -> str:
    """Run what is not finished of the campaign at ``path``; returns the name of the campaign's folder.

    Leaderboard and page are written anew after each run. Raises StorageError where the storage fails: that is no fault
    of a run.
    """
    planned = load_campaign(path)
    tag_run(planned.config.name)
    return _Running(planned, Storage.open(storage_url)).run()


class _Running:
    """A campaign on its way: what came of its runs so far."""

    def __init__(self, campaign: Campaign, storage: Storage) -> None:
        self._campaign, self._storage, self._home = campaign, storage, folder_of(campaign)
        self._outcomes: dict[str, Outcome] = {}

    def run(self) -> str:
        stored.keep_campaign(self._storage, self._home, self._campaign)
        with waiting_for("looking for finished runs"):
            for run in self._campaign.runs:
                if (outcome := found_outcome(self._storage, self._home, run)) is not None:
                    self._outcomes[run.name] = outcome
        self._show()
        left = [run for run in self._campaign.runs if self._is_left(run)]
        self._try_judges(left)
        for _, runs in groupby(left, key=lambda run: (run.model, run.config.compute)):
            self._on_one_model(list(runs))
        return self._home.name

    def _is_left(self, run: PlannedRun) -> bool:
        outcome = self._outcomes.get(run.name)
        return outcome is None or outcome.failed is not None

    def _try_judges(self, left: list[PlannedRun]) -> None:
        """Let each judge read its canaries. Raises ConfigError for one that reads them wrong, unless that is allowed.

        A judge that cannot be asked is the failure of the runs that need it.
        """
        with waiting_for("trying the judges on their canaries"):
            for judge in judges_of(left):
                try:
                    wrong = wrongly_read(judge, self._storage)
                except MascingError as error:
                    _refuse_common(error)
                    continue
                if wrong is not None:
                    refuse_unless(self._campaign.config.allow_failing_judges, wrong)
                    tell(Event("campaign", "note", text=wrong))

    def _on_one_model(self, runs: list[PlannedRun]) -> None:
        """The runs of a model on the same workers. A model that cannot be used is not tried for each of them."""
        unusable: Exception | None = None
        pool: Pool | None = None
        with ExitStack() as opened:
            for run in runs:
                with waiting_for(f"{run} ({self._board.finished} of {self._board.planned} cells)"):
                    try:
                        if unusable is not None:
                            raise unusable
                        _refuse_doomed(run.config)  # before a worker loads, or looks for, what is not there
                        if pool is None:
                            of_model = Pool(run.config.compute, pinned(run.config.model), run.config.engine)
                            pool = opened.enter_context(of_model)
                        outcome = self._attempt(run, pool)
                    except Exception as error:  # noqa: BLE001 - whatever a run provokes is that run's failure
                        _refuse_common(error)
                        unusable = error if _is_of_model(error) else None
                        outcome = self._failed(run, error)
                self._took(run, outcome)

    def _attempt(self, run: PlannedRun, pool: Pool) -> Outcome:
        """Run the line, again without each method that fails."""
        config = run.config.model_copy(update={"model": pinned(run.config.model)})
        aside: dict[str, str] = {}
        while True:
            line = reconfigure_on(pool, _timed(self._storage, self._home, run))
            try:
                name = line(config, self._storage.url)
            except Exception as error:
                _refuse_common(error)
                methods = blamed(error)
                fewer = without(config, methods)
                if not methods or fewer is None:
                    raise
                aside |= dict.fromkeys(methods, _reason(error))
                config = fewer
                continue
            failed = FailedRun(methods=aside) if aside else None
            return outcome_of(self._storage, self._home, run, RunFolder(name), failed)

    def _failed(self, run: PlannedRun, error: Exception) -> Outcome:
        """The failure, beside the cells that an earlier attempt left."""
        trace = None if isinstance(error, MascingError) else "".join(traceback.format_exception(error)[-8:])
        before = self._outcomes.get(run.name, Outcome())
        return Outcome(before.cells, FailedRun(reason=_reason(error), traceback=trace))

    def _took(self, run: PlannedRun, outcome: Outcome) -> None:
        keep_outcome(self._storage, self._home, run, outcome)
        self._outcomes[run.name] = outcome
        for method, reason in ({"": outcome.failed.reason, **outcome.failed.methods} if outcome.failed else {}).items():
            if reason:
                tell(Event("campaign", "note", text=f"failed: {method}{' in ' if method else ''}{run}: {reason}"))
        self._show()

    def _show(self) -> None:
        write_board(self._storage, self._home, self._board)
        tell(Event("campaign", "step", done=self._board.finished, total=self._board.planned))

    @property
    def _board(self) -> Board:
        return Board(self._campaign, self._outcomes)


def _timed(storage: Storage, home: CampaignFolder, run: PlannedRun) -> Start:
    """Stages as tasks, whose times are kept, and whose errors blame the methods that need the stage."""

    def start(stage: Callable[Concatenate[Storage, P], Finished[M]]) -> Callable[Concatenate[str, P], Finished[M]]:
        task = stage_task(stage)

        def timed(storage_url: str, /, *arguments: P.args, **options: P.kwargs) -> Finished[M]:
            with blaming(*(_surrogate_methods(arguments[0]) if stage.__name__ == "train" else ())):
                finished = task(storage_url, *arguments, **options)
            if not finished.reused:
                stored.keep_seconds(storage, home, run.model, finished.manifest, finished.seconds)
            return finished

        return timed

    return start


def _surrogate_methods(config: object) -> Iterator[str]:
    """The methods that need what the train stage makes."""
    assert isinstance(config, RunConfig)
    return (name for name in ("mascing", "consensus") if name in config.methods.searched)


def _refuse_doomed(config: RunConfig) -> None:
    """Raise ConfigError for a run that cannot work, or that could publish nothing."""
    found = preflight(config)
    if found.problems:
        raise ConfigError("; ".join(found.problems))
    if found.hopeless and not config.allow_unpublishable:
        raise ConfigError(unpublishable(found.hopeless))


def _is_of_model(error: Exception) -> bool:
    """Whether no run on the same model can work: it cannot be loaded, or ends every worker that loads it."""
    return isinstance(error, ModelError) or (isinstance(error, WorkerDiedError) and error.item is None)


def _refuse_common(error: Exception) -> None:
    """Raise an error that every run would meet alike: of the storage, of a full disk, or of a server."""
    cause = getattr(error, "cause", None) or error  # of a worker
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        place = cause.filename or f"{gettempdir()}, the folder for temporary files,"
        raise StorageError(f"{place} has no space left: free some and run again; what is stored is kept") from error
    lost = isinstance(error, StorageError) and not isinstance(error, ConflictError | DamagedError)
    if lost or isinstance(error, ServerError | httpx.HTTPError):
        raise error


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    shown = cause if isinstance(cause, Exception) else error
    # The errors of mascing end with what to do, so that they are never cut.
    return (
        " ".join(str(shown).split())
        if isinstance(shown, MascingError)
        else f"{type(shown).__name__}: {one_line(shown)}"
    )
