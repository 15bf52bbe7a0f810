"""What a scheduled run does: promote the candidate through its gates, roll back, or hold; and the record of it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from mascing.errors import ConflictError, DataError, MaskError, StorageError
from mascing.evidence.gates import Decision, all_of, gate_text
from mascing.evidence.promoting.promotion import decide_not_worse, paired_by_set
from mascing.models.checkpoint_names import NamedCheckpoint, named_checkpoint
from mascing.progress import Event, tell
from mascing.runs import registry
from mascing.runs.publications.published_mask import published_mask
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.cards.scheduled_check import JudgesToday, MaskStanding, Outcome, ScheduledCheck
from mascing.storage.object_storage import Storage
from mascing.tasks.running.identity import judges_identity
from mascing.tasks.watching import records
from mascing.tasks.watching.live import live_channel, standing_of
from mascing.tasks.watching.standing import Standing, Watch, software


@dataclass(frozen=True)
class Live:
    """The channel that is served, None if nothing is, and how its mask does today."""

    channel: Channel | None
    standing: Standing | MaskStanding | None

    @property
    def today(self) -> MaskStanding | None:
        """How it does, without the rows."""
        return _today(self.standing)


def look_at_live(watch: Watch) -> Live:
    """How the served mask does today."""
    checkpoint = named_checkpoint(watch.config.model, watch.labelled.facts.checkpoint)
    channel = live_channel(watch.storage, checkpoint, watch.config.behaviour.name, watch.schedule.channel)
    return Live(channel, None if channel is None else standing_of(watch, channel.mask))


def settle(
    watch: Watch, live: Live, judges: JudgesToday, name: str, run: str | None, error: str | None
) -> ScheduledCheck:
    """Decide about the candidate, move the channel, and write the record.

    ``name`` is that of the scheduled run, ``run`` the folder of its report, ``error`` why the line failed if it did.
    """
    config, labelled = watch.config, watch.labelled
    checkpoint = named_checkpoint(config.model, labelled.facts.checkpoint)
    candidate = registry.current(watch.storage, checkpoint, config.behaviour.name)
    standing: Standing | MaskStanding | None = None
    outcome: Outcome = "nothing to promote"
    decision: Decision = ("pass", ("candidate passes: it is the live mask, or there is none",))
    if candidate is not None and not _is_live(watch.storage, candidate, live):
        standing = standing_of(watch, candidate.mask)
        decision = _decide(watch, live, judges, standing)
        outcome, decision = _promote(watch, live, candidate, decision, name, checkpoint)
    if live.today is not None and live.today.regressed and outcome != "promoted":
        outcome, decision = _after_regression(watch, live, judges, decision, name, checkpoint)
    before = records.last(watch.storage, checkpoint, config.behaviour.name)
    inputs = {
        "model": labelled.facts.checkpoint,
        "conversations": labelled.inputs["prepare"],
        "judges": records.digest(judges_identity(config)),
        "software": ", ".join(f"{package} {version}" for package, version in software(config.engine).items()),
    }
    check = ScheduledCheck(
        at=datetime.now(UTC),
        name=name,
        model=checkpoint.name,
        checkpoint=checkpoint.label,
        behaviour=config.behaviour.name,
        channel=watch.schedule.channel,
        inputs=inputs,
        changed=() if before is None else tuple(key for key in inputs if inputs[key] != before.inputs.get(key)),
        live=live.today,
        candidate=_today(standing),
        judges=judges,
        outcome=outcome,
        decision=decision[0],
        reasons=decision[1],
        run=run,
        error=error,
    )
    records.write(watch.storage, check)
    tell(Event("schedule", "note", text=f"{outcome}: {gate_text(check.decision, check.reasons)}"))
    return check


def _decide(watch: Watch, live: Live, judges: JudgesToday, standing: Standing | MaskStanding) -> Decision:
    """Whether the candidate may be promoted: through all gates, no worse than the live mask, and not withdrawn.

    Its verdicts and those of the live mask hold only as far as the judges do.
    """
    today = _today(standing)
    assert today is not None
    decisions: list[Decision] = [(today.gate, today.reasons), (today.routing.gate, today.routing.reasons)]
    if isinstance(standing, Standing):
        card = standing.published.card
        run = f"its run {'passes' if card.result.gate == 'pass' else 'fails'}: the gates on the test split of its card"
        decisions.insert(0, (card.result.gate, (run,)))
    if isinstance(standing, Standing) and isinstance(live.standing, Standing):
        paired = paired_by_set(live.standing.rows, standing.rows)
        decisions.append(decide_not_worse(paired, watch.schedule.tolerance))
    elif live.today is not None and live.today.gate == "undecided":
        decisions.append(("undecided", live.today.reasons))
    decisions += [(judges.gate, judges.reasons), _not_withdrawn(watch.storage, live, today)]
    return all_of(decisions)


def _not_withdrawn(storage: Storage, live: Live, today: MaskStanding) -> Decision:
    """Whether the channel was not rolled back from this mask, whatever card it has by now."""
    withdrawn = live.channel.withdrawn if live.channel else ()
    if today.mask in withdrawn or any(_digest(storage, prefix) == today.digest for prefix in withdrawn):
        remedy = "it takes a new mask, or `mascing registry promote` by hand"
        return "fail", (f"withdrawn fails: the channel was rolled back from this mask; {remedy}",)
    return "pass", ("withdrawn passes: the channel was not rolled back from this mask",)


def _promote(
    watch: Watch, live: Live, candidate: Channel, decision: Decision, name: str, checkpoint: NamedCheckpoint
) -> tuple[Outcome, Decision]:
    """Move the channel if the decision allows it, and if nobody moved it since it was looked at."""
    if decision[0] != "pass":
        return "held", decision
    if not watch.schedule.promote:
        return "held", ("undecided", (*decision[1], "schedule is undecided: promote is false, so a person promotes"))
    own = live.channel if live.channel and live.channel.fingerprint == checkpoint.fingerprint else None
    try:
        registry.promote(watch.storage, candidate, watch.schedule.channel, own, f"promoted by {name}: all gates hold")
    except (ConflictError, MaskError) as error:
        return "held", ("fail", (*decision[1], f"channel fails: {error}"))
    return "promoted", decision


def _after_regression(
    watch: Watch, live: Live, judges: JudgesToday, decision: Decision, name: str, checkpoint: NamedCheckpoint
) -> tuple[Outcome, Decision]:
    """Hold the regressed mask, or go back to the one before if the settings say so and that passes its gates today.

    A judge in doubt moves nothing: the mask before passes by its word alone.
    """
    channel, reasons = live.channel, decision[1]
    assert channel is not None
    if watch.schedule.on_regression == "hold" or channel.fingerprint != checkpoint.fingerprint:
        return "held", ("fail", (*reasons, f"live fails: {channel.mask} regressed and stays; roll back or publish"))
    if judges.gate != "pass":
        return "held", ("fail", (*reasons, f"live fails: {channel.mask} regressed and stays: its judges are in doubt"))
    left = (channel.mask, *channel.withdrawn)
    earlier = [mask for mask in channel.history if mask not in left][-1:]
    today = _today(standing_of(watch, earlier[0])) if earlier else None
    if today is None or today.gate != "pass":
        why = "there is no mask to go back to" if today is None else f"{today.mask} does not pass its gates either"
        return "held", ("fail", (*reasons, f"live fails: {channel.mask} regressed and stays: {why}"))
    try:
        registry.rollback(watch.storage, channel, earlier[0], f"rolled back by {name}: {channel.mask} regressed")
    except (ConflictError, MaskError) as error:
        return "held", ("fail", (*reasons, f"live fails: {channel.mask} regressed, and going back is refused: {error}"))
    return "rolled back", ("fail", (*reasons, f"live fails: {channel.mask} regressed; {today.mask} is back"))


def _is_live(storage: Storage, candidate: Channel, live: Live) -> bool:
    """Whether the channel of this checkpoint holds the candidate's mask already, under whatever card."""
    if live.channel is None or live.channel.fingerprint != candidate.fingerprint:
        return False
    if candidate.mask == live.channel.mask:
        return True
    return live.today is not None and live.today.digest == _digest(storage, candidate.mask)


def _digest(storage: Storage, prefix: str) -> str | None:
    """The digest of a stored mask; None if it is gone."""
    try:
        return published_mask(storage, prefix).mask.digest
    except (DataError, StorageError):
        return None


def _today(standing: Standing | MaskStanding | None) -> MaskStanding | None:
    return standing.today if isinstance(standing, Standing) else standing
