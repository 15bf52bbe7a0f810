"""What a campaign is about to do: its grid, what stands in the way of its runs, and what they will cost."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from mascing.campaigns.folder import folder_of, other_versions, read_seconds
from mascing.campaigns.grid import named
from mascing.campaigns.used_judges import judges_of, refuse_unless, trust, wrongly_read
from mascing.evidence.foregone import unpublishable
from mascing.preflight.campaign_cost import replies_of, tokens_of
from mascing.preflight.checks import preflight
from mascing.preflight.judging_cost import Bill, bills_of, canary_bill
from mascing.prose import counted
from mascing.report.wording import duration
from mascing.schemas.campaign import Campaign, PlannedRun, StageSeconds
from mascing.storage.object_storage import Storage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_OF_A_TASK = frozenset({"prepare", "label", "harvest"})
"""Stages that the seeds of a model and a behaviour share."""

Made = Mapping[str, Collection[str]]
"""The stages of each run that it finds made when its turn comes."""


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
    others = other_versions(storage, home)
    if others and not storage.exists(home.config):
        say_prose(console, f"the file says something else than it did for {others[0].prefix}, which stays as it is")
    seconds = next(filter(None, (read_seconds(storage, each) for each in (home, *others))), {})
    for line in _estimate(campaign, plan, storage, seconds):
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


def _found(storage: Storage, runs: Iterable[PlannedRun]) -> tuple[list[PlannedRun], Made]:
    """The runs that have something left to do, and what is made of it."""
    runs = list(runs)
    if not storage.list("prepare"):  # spares a first start the imports of all stages
        return runs, _made(runs, {})
    from mascing.flows.finished_line import found_stages

    found = {run.name: found_stages(run.config, storage) for run in runs}
    left = [run for run in runs if not found[run.name][1]]
    return left, _made(left, {name: stages for name, (stages, _) in found.items()})


def _made(runs: Iterable[PlannedRun], finished: Made) -> Made:
    """The finished stages of each run, and those that an earlier one with another seed makes for it."""
    seen = set()
    made: dict[str, Collection[str]] = {}
    for run in runs:
        task = (run.model, run.behaviour)
        made[run.name] = {*finished.get(run.name, ()), *(_OF_A_TASK if task in seen else ())}
        seen.add(task)
    return made


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
    return f"{_replies(runs, plan, _made(runs, {})).total():,}"


def _replies(runs: Iterable[PlannedRun], plan: Plan, made: Made) -> Counter[str]:
    """The replies of runs by stage, without those that are made."""
    total: Counter[str] = Counter()
    for run in runs:
        total.update({stage: 0 if stage in made[run.name] else n for stage, n in plan.replies[run.name].items()})
    return total


def _estimate(campaign: Campaign, plan: Plan, storage: Storage, seconds: Mapping[str, StageSeconds]) -> Iterator[str]:
    possible = [run for run in campaign.runs if run.name in plan.replies]
    left, made = _found(storage, possible)
    if len(left) < len(possible):
        yield f"finished: {len(possible) - len(left)} of {counted(len(campaign.runs), 'run')}"
    if not left:
        return
    replies = _replies(left, plan, made)
    tokens = sum(plan.tokens[run.name] * _replies([run], plan, made).total() for run in left)
    by_stage = ", ".join(f"{stage} {count:,}" for stage, count in replies.items() if count)
    runs = counted(len(left), "run")
    yield f"left to do: {runs}; at most {replies.total():,} replies ({by_stage}), each judged once"
    yield f"tokens generated at most: {tokens:,}"
    yield from _money(left, plan, made)
    yield _time(left, made, seconds, replies)


def _money(left: Sequence[PlannedRun], plan: Plan, made: Made) -> Iterator[str]:
    """What judgements cost that are asked of endpoints, those of the canary set included."""
    bill = canary_bill(judge.config for judge in judges_of(left))
    for run in left:
        bill = sum((each for stage, each in plan.bills[run.name].items() if stage not in made[run.name]), bill)
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


def _time(
    left: Sequence[PlannedRun], made: Made, seconds: Mapping[str, StageSeconds], replies: Mapping[str, int]
) -> str:
    """How long the runs will take, by the stages that this campaign has finished: on the same model, or on others.

    Of those that still give ``replies``, it names each whose time is not known.
    """
    if not seconds:
        return "time: not known before this campaign has finished a run; the next start says it by stage"
    expected: Counter[str] = Counter()
    for run in left:
        for stage in dict.fromkeys(each.stage for each in seconds.values()):
            if stage in made[run.name]:
                continue
            of_stage = [each for each in seconds.values() if each.stage == stage]
            same = [each.seconds for each in of_stage if each.model == run.model]
            expected[stage] += median(same or [each.seconds for each in of_stage])  # type: ignore[assignment]
    longest = ", ".join(f"{stage} {duration(spent)}" for stage, spent in expected.most_common() if spent >= 1)
    unknown = [stage for stage, count in replies.items() if count and stage not in expected]
    return (
        f"time, by the stages that are finished: {duration(expected.total())}"
        + (f" ({longest})" if longest else "")
        + (f"; to this comes the time of {', '.join(unknown)}, not known yet" if unknown else "")
    )


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
