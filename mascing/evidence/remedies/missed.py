"""What would change the decision on a mask: for each gate that it missed, what to do, by the numbers of the run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mascing.evidence.gates import missed_gates, signed
from mascing.evidence.remedies.compared import MOST_ROWS, Compared, Row, compared_sets
from mascing.evidence.remedies.dev_search import DevSearch, milder, stronger, weaker
from mascing.evidence.remedies.sets import Demand, holds, set_remedies, value_holds
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.result import MethodResult, Remedy
from mascing.schemas.settings.method_settings import GradientConfig
from mascing.statistics.power import CORRELATION, POWER, Effect, conversations_needed

_LIMITS = {"target": "min_uplift", "utility": "max_utility_loss", "protected": "protected_tolerance"}
"""The field of `gates` that holds the limit of each kind of set."""


@dataclass(frozen=True)
class Missed:
    """The evidence on a mask that did not pass.

    ``before`` and ``after`` are the verdicts on test without and with it, ``conditions`` the same under each changed
    condition that it was judged under. ``brought`` are the test conversations as the file has them. ``search`` is its
    method's search on dev, None if nothing of it was judged.
    """

    result: MethodResult
    before: Sequence[Row]
    after: Sequence[Row]
    conditions: Mapping[str, tuple[Sequence[Row], Sequence[Row]]]
    brought: Sequence[Conversation]
    search: DevSearch | None


def remedies_of(missed: Missed, config: RunConfig) -> tuple[Remedy, ...]:
    """What would change each gate that the mask missed, in the order of the gates; empty if it passed.

    Every missed gate has one remedy at least.
    """
    sets = compared_sets(missed.before, missed.after)
    gates = missed_gates(missed.result.reasons)
    # Two sets of one condition may ask for the same.
    found = {gate: list(_of_gate(gate, missed, sets, config)) or [_another_mask(gate)] for gate in gates}
    return tuple(dict.fromkeys(remedy for gate in gates for remedy in found[gate]))


def _another_mask(gate: str) -> Remedy:
    sentence = "take another method, or search with other settings: neither rows nor a judge keeps this mask"
    return Remedy(gate=gate, kind="search", sentence=sentence)


def _of_gate(gate: str, missed: Missed, sets: Mapping[str, Compared], config: RunConfig) -> Iterator[Remedy]:
    if gate in sets:
        yield from _of_set(sets[gate], _demand(gate, gate, config, len(sets[gate].before)), missed, config)
    elif gate in missed.conditions:
        yield from _of_condition(gate, missed, config, sets)
    elif gate == "replies":
        yield from _of_replies(missed, config)
    elif gate == "labels":
        yield from _of_labels(missed, config)
    elif gate == "topic":
        yield Remedy(
            gate=gate,
            kind="rows",
            sentence=(
                "add conversations of both classes on each topic, take a method that reads replies and not the routing "
                "of the classes (gradient, active), or, if the change of replies on test is enough for you, set "
                "gates.allow_topic to true"
            ),
        )
    elif gate == "utility":
        yield Remedy(gate=gate, kind="rows", sentence="add conversations of a set utility/<name> to the file")
    elif gate == "judges":
        yield Remedy(
            gate=gate,
            kind="judge",
            sentence=(
                "judge utility rows by their answers: give them `references` and set behaviour.utility to exact, "
                "contains, choice or a judge of your own"
            ),
        )


def _of_set(compared: Compared, demand: Demand, missed: Missed, config: RunConfig) -> Iterator[Remedy]:
    """What would change the gate of one set: its rows, judge or limit, and where these are not it, another mask."""
    found = list(set_remedies(compared, demand))
    yield from found
    if missed.search is None or any(remedy.kind == "rows" for remedy in found):
        return
    if demand.is_loss:
        yield from milder(missed.search, demand.gate, compared.name, config.gates)
        yield from _weight(missed.search, demand.gate, compared.name, config)
    elif compared.unsteered.value > 1 - demand.least:
        yield Remedy(
            gate=demand.gate,
            kind="baseline",
            sentence=(
                f"bring harder conversations, or lower gates.min_uplift: the unsteered model already scores "
                f"{100 * compared.unsteered.value:.1f}%, so no mask can gain {100 * demand.least:g} points"
            ),
        )
    else:
        yield from stronger(missed.search, demand.gate, config.gates)


def _weight(search: DevSearch, gate: str, name: str, config: RunConfig) -> Iterator[Remedy]:
    """The methods that descend on the model have a term for utility."""
    settings = config.methods.searched.get(search.method)
    if isinstance(settings, GradientConfig) and name.startswith("utility/"):
        yield Remedy(
            gate=gate,
            kind="grid",
            sentence=f"raise methods.{search.method}.utility_weight, which is {settings.utility_weight:g}",
        )


def _of_condition(gate: str, missed: Missed, config: RunConfig, in_test: Mapping[str, Compared]) -> Iterator[Remedy]:
    sets = compared_sets(*missed.conditions[gate])
    beyond_luck = False
    for name, compared in sets.items():
        demand = _demand(gate, name, config, len(in_test[name].before), is_sampled=True)
        if not holds(compared, demand):
            beyond_luck |= not value_holds(compared, demand)
            yield from _of_set(compared, demand, missed, config)
    if beyond_luck:
        yield Remedy(
            gate=gate, kind="condition", sentence=f"{_switch(gate)}, if the mask will never serve under that condition"
        )


def _switch(condition: str) -> str:
    """How to turn a condition off."""
    match condition.split()[0]:
        case "paraphrase":
            return "set robustness.paraphrase to false"
        case "system":
            return "leave that prompt out of robustness.system_prompts"
        case "temperature":
            return f"leave {condition.split()[1]} out of robustness.temperatures"
        case _:
            return "set robustness.earlier_exchanges to 0"


def _of_replies(missed: Missed, config: RunConfig) -> Iterator[Remedy]:
    """Degenerate replies: whether more rows could clear the mask, and a milder one."""
    change, limit = missed.result.degenerate_change, config.gates.max_degenerate
    kinds = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in missed.result.degenerate.items())
    if change.value <= limit:
        lost = max(0.0, change.value)
        group_size = max(1, round(change.n / len({row["group_id"] for row in missed.before})))
        needed = conversations_needed(Effect(0.0, lost, group_size, CORRELATION), -limit, POWER, MOST_ROWS)
        rows = f"about {max(needed, change.n + 1)} in the test split" if needed else f"more than {MOST_ROWS:,}"
        yield Remedy(
            gate="replies",
            kind="rows",
            sentence=(
                f"bring more rows of every set: {rows} (now {change.n}), if the true change of degenerate replies is "
                f"the measured {signed(change.value)} points ({kinds or 'none'})"
            ),
        )
        return
    if missed.search is not None:
        yield from weaker(missed.search, "replies", f"of {change.n} replies, {kinds} are degenerate under the pick")


def _of_labels(missed: Missed, config: RunConfig) -> Iterator[Remedy]:
    """How the labels of the file and the target's judge contradict each other."""
    outcomes = {row["conversation_id"]: row["outcome"] for row in missed.before if row["set"] == "target"}
    labelled = [row for row in missed.brought if row.label is not None and row.id in outcomes]
    read = Counter((row.label, outcomes[row.id]) for row in labelled)
    judge = config.behaviour.target.kind
    yield Remedy(
        gate="labels",
        kind="labels",
        sentence=(
            f"drop the labels from the file (they are not needed), correct them, or take another judge than `{judge}` "
            f"for behaviour.target: of {len(labelled)} labelled test conversations, the judge takes "
            f"{read['positive', 'miss']} of the positive replies for misses and {read['negative', 'hit']} of the "
            f"negative ones for hits, and could not read {read['positive', 'unscored'] + read['negative', 'unscored']}"
        ),
    )


def _demand(gate: str, name: str, config: RunConfig, in_test: int, *, is_sampled: bool = False) -> Demand:
    """What a gate of the plain test split, or (``is_sampled``) a changed condition, asks of a set."""
    kind, gates, robustness = name.partition("/")[0], config.gates, config.robustness
    is_loss = kind != "target"
    field = _LIMITS[kind]
    limit = getattr(gates, field)
    setting, unit, value = f"gates.{field}", 1.0, limit
    if is_sampled:
        setting, unit = f"robustness.{'loss_factor' if is_loss else 'uplift_share'}", limit
        value = limit * (robustness.loss_factor if is_loss else robustness.uplift_share)
    return Demand(
        gate=gate,
        least=-value if is_loss else value,
        setting=setting,
        judge=config.behaviour.judge_of(name).kind,
        max_new_tokens=config.generation.max_new_tokens,
        min_baseline=gates.min_baseline,
        in_test=in_test,
        share=config.splits.test,
        unit=unit,
        is_loss=is_loss,
        is_sampled=is_sampled,
    )
