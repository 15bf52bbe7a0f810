"""Records of scheduled runs: in order, readable one by one, and what was told already."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mascing.evidence.promoting.routing_drift import undecided_drift
from mascing.flows.pages.scheduled_page import picture
from mascing.flows.schedule.messages import of_check
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.schemas.cards.scheduled_check import JudgesToday, MaskStanding, RoutingDrift, ScheduledCheck
from mascing.schemas.result import Rate
from mascing.storage.object_storage import Storage
from mascing.tasks.watching import records

NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)
ROUTING = RoutingDrift(gate="pass", reasons=("routing passes: as then",))
STANDING = MaskStanding(mask="masks/a", digest="a", gate="pass", reasons=(), routing=ROUTING)


def check(days: int, **changes: Any) -> ScheduledCheck:
    held = {"outcome": "held", "decision": "fail", "reasons": ("target beside the live mask fails: -9 points",)}
    return ScheduledCheck.model_validate(
        {
            "at": NOW + timedelta(days=days),
            "name": "a run",
            "model": "org/m",
            "checkpoint": "org--m-0",
            "behaviour": "policy",
            "channel": "production",
            "inputs": {},
            "changed": (),
            "live": STANDING,
            "candidate": STANDING,
            **held,
            **changes,
        }
    )


def test_the_last_record_is_found_and_one_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    storage, checkpoint = Storage.open(str(tmp_path)), NamedCheckpoint("org/m", "0" * 64)
    assert records.last(storage, checkpoint, "policy") is None
    for days in (1, 0):
        records.write(storage, check(days))
    storage.create("checks/org--m/policy/20270101T000000.000000Z.json", b"{}")
    last = records.last(storage, checkpoint, "policy")
    assert last is not None
    assert last.at == NOW + timedelta(days=1)
    assert len(records.checks(storage, "org/m", "policy")) == 2


def test_a_candidate_is_told_again_only_once_something_changed(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    first, second, other = check(0), check(1), check(2, reasons=("withdrawn fails: by hand",))
    for each in (first, second, other):
        records.write(storage, each)
    assert [records.was_told(storage, each) for each in (first, second, other)] == [False, True, False]


def test_only_what_is_worth_a_message_is_told_and_a_regression_before_all(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    fallen = STANDING.model_copy(update={"gate": "fail", "reasons": ("target fails: -9 points",)})
    drifted = STANDING.model_copy(update={"routing": undecided_drift("other experts", "fail")})
    judges = JudgesToday(gate="fail", reasons=("judge llm of target on canaries fails: 3 of 7",))
    events: dict[str, dict[str, Any]] = {
        "nothing": {"outcome": "nothing to promote", "reasons": ()},
        "mask promoted": {"outcome": "promoted"},
        "candidate held": {},
        "routing drifted": {"live": drifted},
        "judge failed": {"judges": judges, "error": "no mask can pass"},
        "line failed": {"error": "no mask can pass"},
        "live mask regressed": {"live": fallen, "error": "no mask can pass"},
    }
    for event, changes in events.items():
        message = of_check(storage, check(0, **changes))
        assert (message["event"] if message else "nothing") == event
    message = of_check(storage, check(0, live=fallen))
    assert message is not None
    assert message["reasons"] == ["target fails: -9 points", "target beside the live mask fails: -9 points"]
    assert message["text"].startswith("mascing: live mask regressed: policy on org/m, channel production: held")


def test_an_alarm_ends_where_another_mask_took_the_place() -> None:
    fallen = STANDING.model_copy(update={"drift": "fail"})
    assert check(0, live=fallen).alarming
    assert not check(0, live=fallen, outcome="promoted").alarming
    assert not check(0, live=fallen, outcome="rolled back").alarming
    assert not check(0).alarming


def test_the_picture_shows_a_mark_for_each_rate() -> None:
    rates = [Rate(value=share, low=share - 0.1, high=share + 0.1, n=9, unscored=0) for share in (0.5, 0.8)]
    assert picture(rates).count("<circle") == 2
