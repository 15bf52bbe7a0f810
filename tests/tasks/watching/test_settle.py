"""What becomes of the channel: every way in which a candidate is held, and what follows a regression."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mascing.masks.mask import Mask
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs import registry
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.cards.scheduled_check import JudgesToday, MaskStanding, RoutingDrift, ScheduledCheck
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.result import Gate
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.schemas.settings.schedule_settings import ScheduleConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.watching import settle as module
from mascing.tasks.watching.live import live_channel
from mascing.tasks.watching.settle import Live, settle
from tests.mascing.made_cards import FINGERPRINT, a_mask, stored

EXACT = ExactJudge()
CONFIG = RunConfig(
    model=ModelConfig(path="org/m"),
    behaviour=BehaviourConfig(name="policy", conversations="x", target=EXACT, utility=EXACT, protected=EXACT),
)
M = NamedCheckpoint("org/m", FINGERPRINT)


class Night:
    """A storage whose masks stand as ``gates`` say, by prefix; those that are not named pass."""

    def __init__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.storage, self.gates = storage, dict[str, Gate]()
        self.judges = JudgesToday(gate="pass", reasons=("judge exact of target on canaries passes: 6 of 6",))
        monkeypatch.setattr(module, "standing_of", lambda watch, prefix: self.standing(prefix))

    def standing(self, prefix: str) -> MaskStanding:
        gate = self.gates.get(prefix, "pass")
        word = {"pass": "passes", "fail": "fails", "undecided": "is undecided"}[gate]
        digest = Mask.from_bytes(self.storage.read(f"{prefix}/mask.safetensors")).digest
        routing = RoutingDrift(gate="pass", reasons=())
        reasons = (f"target {word}: +0.0 points",)
        return MaskStanding(mask=prefix, digest=digest, gate=gate, reasons=reasons, routing=routing)

    def publish(self, name: str, mask: Mask | None = None, live: bool = False) -> str:
        prefix = stored(self.storage, name, mask)
        candidate = registry.publish(self.storage, M, "policy", prefix)
        if live:
            registry.promote(self.storage, candidate, "production", self.production(), "by hand")
        return prefix

    def production(self) -> Channel | None:
        return registry.current(self.storage, M, "policy", "production")

    def live(self) -> Live:
        channel = live_channel(self.storage, M, "policy", "production")
        return Live(channel, self.standing(channel.mask) if channel else None)

    def settle(self, live: Live | None = None, **schedule: Any) -> ScheduledCheck:
        labelled = SimpleNamespace(facts=SimpleNamespace(checkpoint=M.fingerprint), inputs={"prepare": "0"})
        watch: Any = SimpleNamespace(
            storage=self.storage, config=CONFIG, schedule=ScheduleConfig(**schedule), labelled=labelled
        )
        return settle(watch, live or self.live(), self.judges, "a run", None, None)

    def held(self) -> str:
        production = self.production()
        assert production is not None
        mask: str = production.mask
        return mask


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    return Night(Storage.open(str(tmp_path)), monkeypatch)


def test_without_a_candidate_nothing_happens(night: Night) -> None:
    assert night.settle().outcome == "nothing to promote"
    only = night.publish("a", live=True)
    assert night.settle().outcome == "nothing to promote"
    night.publish("the same mask with another card", a_mask("a"))
    assert night.settle().outcome == "nothing to promote"
    assert night.held() == only


@pytest.mark.parametrize("gate", ["fail", "undecided"])
def test_a_candidate_that_does_not_pass_today_is_held(night: Night, gate: Gate) -> None:
    before, candidate = night.publish("a", live=True), night.publish("b")
    night.gates[candidate] = gate
    check = night.settle()
    assert (check.outcome, check.decision, night.held()) == ("held", gate, before)


def test_nothing_is_promoted_beside_a_live_mask_that_cannot_be_judged(night: Night) -> None:
    before = night.publish("a", live=True)
    night.publish("b")
    night.gates[before] = "undecided"
    check = night.settle()
    assert (check.outcome, check.decision, night.held()) == ("held", "undecided", before)


@pytest.mark.parametrize("gate", ["fail", "undecided"])
def test_a_judge_in_doubt_promotes_nothing_and_rolls_nothing_back(night: Night, gate: Gate) -> None:
    night.publish("a", live=True)
    live = night.publish("b", live=True)
    reason = f"judge llm of target {'fails' if gate == 'fail' else 'is undecided'}: 24 of 48"
    night.judges = JudgesToday(gate=gate, reasons=(reason,))
    night.publish("c")
    check = night.settle()
    assert (check.outcome, check.decision, night.held()) == ("held", gate, live)
    assert reason in check.reasons
    night.gates[live] = "fail"
    check = night.settle(on_regression="roll_back")
    assert (check.outcome, check.alarming, night.held()) == ("held", True, live)
    assert check.reasons[-1].endswith("stays: its judges are in doubt")


def test_a_person_promotes_where_the_schedule_may_not(night: Night) -> None:
    night.publish("a")
    assert night.settle(promote=False).outcome == "held"
    assert night.production() is None
    assert night.settle().outcome == "promoted"


def test_a_channel_that_moved_meanwhile_is_left_as_it_is(night: Night) -> None:
    night.publish("a", live=True)
    seen = night.live()
    by_hand = night.publish("b", live=True)
    night.publish("c")
    check = night.settle(seen)
    assert (check.outcome, night.held()) == ("held", by_hand)
    assert "was moved meanwhile" in check.reasons[-1]


def test_a_candidate_that_is_for_another_behaviour_is_held(night: Night) -> None:
    before = night.publish("a", live=True)
    registry.publish(night.storage, M, "policy", stored(night.storage, "b", behaviour="defence"))
    check = night.settle()
    assert (check.outcome, check.decision, night.held()) == ("held", "fail", before)
    assert "its gates were passed for the behaviour defence, not for policy" in check.reasons[-1]


def test_a_withdrawn_mask_is_held_under_another_card_too(night: Night) -> None:
    night.publish("a", live=True)
    night.publish("b", live=True)
    channel = night.production()
    assert channel is not None
    registry.rollback(night.storage, channel)
    night.publish("b with another card", a_mask("b"))
    check = night.settle()
    assert (check.outcome, check.decision) == ("held", "fail")
    night.publish("c")
    assert night.settle().outcome == "promoted"


def test_a_regressed_mask_makes_way_for_a_candidate_that_passes(night: Night) -> None:
    night.gates[night.publish("a", live=True)] = "fail"
    candidate = night.publish("b")
    check = night.settle()
    assert (check.outcome, check.alarming, night.held()) == ("promoted", False, candidate)


def test_a_regressed_mask_stays_by_default_and_is_an_alarm(night: Night) -> None:
    night.publish("a", live=True)
    fallen = night.publish("b", live=True)
    night.gates[fallen] = "fail"
    check = night.settle()
    assert (check.outcome, check.alarming, night.held()) == ("held", True, fallen)


@pytest.mark.parametrize(("earlier", "outcome"), [("pass", "rolled back"), ("fail", "held")])
def test_the_mask_before_comes_back_if_the_settings_say_so_and_it_passes(
    night: Night, earlier: Gate, outcome: str
) -> None:
    before, fallen = night.publish("a", live=True), night.publish("b", live=True)
    night.gates |= {before: earlier, fallen: "fail"}
    check = night.settle(on_regression="roll_back")
    assert (check.outcome, check.alarming) == (outcome, earlier == "fail")
    assert night.held() == (before if earlier == "pass" else fallen)
    if earlier == "pass":
        assert night.settle().outcome == "held"  # the candidate is the mask that was left


def test_a_regressed_mask_stays_where_the_card_of_the_one_before_says_that_it_fails(night: Night) -> None:
    weak = stored(night.storage, "weak", gate="fail")
    registry.publish(night.storage, M, "policy", weak, "production")
    fallen = stored(night.storage, "fallen")
    registry.publish(night.storage, M, "policy", fallen, "production")
    night.gates[fallen] = "fail"
    check = night.settle(on_regression="roll_back")
    assert (check.outcome, check.alarming, night.held()) == ("held", True, fallen)
    assert "does not pass its gates" in check.reasons[-1]


def test_a_mask_without_a_past_stays(night: Night) -> None:
    fallen = night.publish("a", live=True)
    night.gates[fallen] = "fail"
    assert night.settle(on_regression="roll_back").outcome == "held"
    assert night.held() == fallen


def test_what_is_served_of_earlier_weights_is_found_by_the_name_of_the_model(night: Night) -> None:
    night.publish("a", live=True)
    moved = NamedCheckpoint("org/m", "1" * 64)
    found = live_channel(night.storage, moved, "policy", "production")
    assert found is not None
    assert found.fingerprint == M.fingerprint
    assert live_channel(night.storage, NamedCheckpoint("org/other", "1" * 64), "policy", "production") is None
