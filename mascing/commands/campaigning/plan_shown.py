"""What a campaign is about to do: its grid, what stands in the way of its runs, and what they will cost."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from mascing.campaigns.folder import CampaignFolder, folder_of, read_seconds
from mascing.campaigns.grid import named
from mascing.campaigns.used_judges import judges_of, refuse_unless, trust, wrongly_read
from mascing.evidence.foregone import unpublishable
from mascing.preflight.campaign_cost import SHARED, replies_of, tokens_of
from mascing.preflight.checks import preflight
from mascing.preflight.judging_cost import Bill, bills_of
from mascing.prose import counted
from mascing.report.wording import duration
from mascing.schemas.campaign import Campaign, PlannedRun, StageSeconds
from mascing.storage import parquet
from mascing.storage.object_storage import Storage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_OF_A_TASK = ("prepare", "label", "harvest")
"""Stages that the seeds of a model and a behaviour share."""


@dataclass(frozen=True)
class Plan:
    """Runs that can work with the replies and bills of each stage, and the problems of each of the others."""

    replies: Mapping[str, Mapping[str, int]]
    bills: Mapping[str, Mapping[str, Bill]]
    tokens: Mapping[str, int]
    problems: Mapping[str, Sequence[str]]


def print_plan(console: "Console", storage: Storage, campaign: Campaign) -> int:
    """Print the grid, the estimate and the judges; returns the number of runs that cannot work.

    Raises ConfigError if a judge by rules reads its canaries wrong; the others are not asked.
    """
    from mascing.commands.line import say, say_prose
    from mascing.commands.outcomes.tables import print_fitting

    plan, home = _plan(campaign), folder_of(campaign)
    say_prose(console, _headline(campaign))
    print_fitting(console, _grid(campaign, plan))
    for problem, tasks in _together(campaign, plan).items():
        say_prose(console, f"problem: {named(campaign.config, tasks)}: {problem}")
    done = _finished(storage, home, campaign)
    for line in _estimate(campaign, plan, done, read_seconds(storage, home)):
        say_prose(console, line)
    for line in _trust(campaign):
        say_prose(console, line)
    told = "campaign" if storage.exists(home.config) else "the campaign will be kept in"
    say(console, f"{told}: {storage.locate(home.prefix)}")
    _refuse_failing(campaign)
    return len(plan.problems)


def _plan(campaign: Campaign) -> Plan:
    """What `mascing check` finds of each model with each behaviour; seeds change nothing of it."""
    replies: dict[str, Mapping[str, int]] = {}
    bills: dict[str, Mapping[str, Bill]] = {}
    tokens: dict[str, int] = {}
    problems: dict[str, Sequence[str]] = {}
    for runs in _by_task(campaign).values():
        config = runs[0].config
        found = preflight(config)
        of_task: Sequence[str] = found.problems
        if not of_task and found.hopeless and not config.allow_unpublishable:
            of_task = [unpublishable(found.hopeless)]
        names = [run.name for run in runs]
        if of_task or found.rows is None:
            problems |= dict.fromkeys(names, of_task)
            continue
        replies |= dict.fromkeys(names, replies_of(config, found.rows))
        bills |= dict.fromkeys(names, bills_of(config, found.rows))
        tokens |= dict.fromkeys(names, tokens_of(config, 1))
    return Plan(replies, bills, tokens, problems)


def _finished(storage: Storage, home: CampaignFolder, campaign: Campaign) -> set[str]:
    """The runs whose cells all stood in the leaderboard when it was last written."""
    try:
        rows = parquet.from_bytes(storage.read(home.leaderboard), home.leaderboard).to_pylist()
    except FileNotFoundError:
        return set()
    missing = {(row["model"], row["behaviour"], row["seed"]) for row in rows if row["state"] != "finished"}
    return {run.name for run in campaign.runs if (run.model, run.behaviour, run.seed) not in missing}


def _by_task(campaign: Campaign) -> dict[tuple[str, str], list[PlannedRun]]:
    tasks: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in campaign.runs:
        tasks.setdefault((run.model, run.behaviour), []).append(run)
    return tasks


def _headline(campaign: Campaign) -> str:
    config = campaign.config
    sizes = (
        counted(len(config.models), "model"),
        counted(len(config.behaviours), "behaviour"),
        f"{counted(len(campaign.methods), 'method')} ({', '.join(campaign.methods)})",
        f"{counted(len(config.seeds), 'seed')} ({', '.join(map(str, config.seeds))})",
    )
    return f"{config.name}: {' x '.join(sizes)}, {len(campaign.runs) * len(campaign.methods)} cells"


def _grid(campaign: Campaign, plan: Plan) -> "Table":
    """Models by behaviours: the replies of all their runs, or that they cannot work or be configured."""
    from rich.table import Table

    config = campaign.config
    table = Table(box=None, pad_edge=False)
    table.add_column("replies at most", no_wrap=True)
    for behaviour in config.behaviours:
        table.add_column(behaviour, justify="right")
    tasks = _by_task(campaign)
    for model in config.models:
        table.add_row(model, *(_cell(tasks.get((model, behaviour)), plan) for behaviour in config.behaviours))
    return table


def _cell(runs: Sequence[PlannedRun] | None, plan: Plan) -> str:
    if runs is None:
        return "not in this plan"
    if runs[0].name in plan.problems:
        return "cannot work"
    return f"{sum(_replies(runs, plan).values()):,}"


def _replies(runs: Sequence[PlannedRun], plan: Plan) -> Counter[str]:
    """The replies of runs by stage; those of the labels once for all seeds of a model and a behaviour."""
    total: Counter[str] = Counter()
    labelled = set()
    for run in runs:
        stages = dict(plan.replies.get(run.name, {}))
        if (run.model, run.behaviour) in labelled:
            stages.pop(SHARED, None)
        labelled.add((run.model, run.behaviour))
        total.update(stages)
    return total


def _estimate(campaign: Campaign, plan: Plan, done: set[str], seconds: Mapping[str, StageSeconds]) -> Iterator[str]:
    left = [run for run in campaign.runs if run.name in plan.replies and run.name not in done]
    if done:
        yield f"{len(done)} of {len(campaign.runs)} runs were finished when the leaderboard was last written"
    if not left:
        return
    replies = _replies(left, plan)
    tokens = sum(plan.tokens[run.name] * _replies([run], plan).total() for run in left)
    by_stage = ", ".join(f"{stage} {count:,}" for stage, count in replies.items() if count)
    runs = counted(len(left), "run")
    yield f"left to do: {runs}; at most {replies.total():,} replies ({by_stage}), each judged once"
    yield f"tokens generated at most: {tokens:,}"
    yield from _money(left, plan)
    yield _time(left, seconds)


def _money(left: Sequence[PlannedRun], plan: Plan) -> Iterator[str]:
    """What judgements cost that are asked of endpoints; those of labels once for all seeds."""
    bill = Bill()
    labelled = set()
    for run in left:
        task = (run.model, run.behaviour)
        stages = (each for stage, each in plan.bills[run.name].items() if stage != SHARED or task not in labelled)
        bill = sum(stages, bill)
        labelled.add(task)
    if bill.judgements:
        yield (
            f"judgements at endpoints at most: {bill.judgements:,.0f}, of {bill.most_tokens:,.0f} tokens and "
            f"${bill.most_dollars:,.2f}; about {bill.about_tokens:,.0f} tokens and ${bill.about_dollars:,.2f} if four "
            "bytes are a token"
        )
    if bill.unpriced:
        yield f"not in these dollars, since the price is not known: {', '.join(sorted(bill.unpriced))}"
    if not bill.judgements and not bill.unpriced:
        yield "judgements: none of the judges is paid"


def _time(left: Sequence[PlannedRun], seconds: Mapping[str, StageSeconds]) -> str:
    """How long the runs will take, by the stages that this campaign has finished: on the same model, or on others."""
    if not seconds:
        return "time: not known before this campaign has finished a run; the next start says it by stage"
    expected: Counter[str] = Counter()
    labelled = set()
    for run in left:
        for stage in dict.fromkeys(each.stage for each in seconds.values()):
            if stage in _OF_A_TASK and (run.model, run.behaviour) in labelled:
                continue
            of_stage = [each for each in seconds.values() if each.stage == stage]
            same = [each.seconds for each in of_stage if each.model == run.model]
            expected[stage] += median(same or [each.seconds for each in of_stage])  # type: ignore[assignment]
        labelled.add((run.model, run.behaviour))
    by_stage = ", ".join(f"{stage} {duration(spent)}" for stage, spent in expected.items() if spent >= 1)
    return f"time, by the stages that are finished: {duration(expected.total())} ({by_stage})"


def _trust(campaign: Campaign) -> Iterator[str]:
    """How far each judge can be trusted, and how to find out."""
    judges = judges_of(campaign.runs)
    yield from map(trust, judges)
    if any(judge.config.calibration is None for judge in judges):
        yield (
            "to calibrate a judge: mascing judge FILE --judge KIND --judge-config YAML --labels COLUMN --calibration "
            "JUDGE.json, then `calibration: JUDGE.json` in its settings"
        )
    if asked := [str(judge) for judge in judges if not judge.by_rules]:
        yield f"tried on the canary set when the campaign starts: {', '.join(asked)}"


def _refuse_failing(campaign: Campaign) -> None:
    for judge in judges_of(campaign.runs):
        if judge.by_rules and (wrong := wrongly_read(judge)):
            refuse_unless(campaign.config.allow_failing_judges, wrong)


def _together(campaign: Campaign, plan: Plan) -> dict[str, set[tuple[str, str]]]:
    """Each problem once, with the models and behaviours that have it."""
    tasks: dict[str, set[tuple[str, str]]] = {}
    for run in campaign.runs:
        for problem in plan.problems.get(run.name, ()):
            tasks.setdefault(problem, set()).add((run.model, run.behaviour))
    return tasks
