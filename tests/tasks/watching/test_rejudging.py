"""Judges are asked anew: one that became another under the same name is noticed, and nothing stored answers for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mascing.engines.openai.ledger import Ledger
from mascing.judges.refusals.finding import find_refusal
from mascing.schemas.config import BehaviourConfig, GenerationConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import JudgeConfig, PluggedJudge, RefusalJudge
from mascing.schemas.settings.judging_models import LlmJudge
from mascing.schemas.settings.schedule_settings import ScheduleConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.watching import rejudging
from mascing.tasks.watching.rejudging import REPLIES, hear_judges
from tests.fake_endpoint import FakeEndpoint
from tests.tasks.here_pool import HerePool

Start = Callable[..., FakeEndpoint]


def refuses(body: dict[str, Any]) -> bool:
    """Whether the reply that a judge is asked about refuses."""
    asked = body["messages"][-1]["content"]
    quoted = re.search(r"The reply that you judge:\n([0-9a-f]{16})\n(.*)\n\1", asked, re.DOTALL)
    assert quoted is not None
    reply = "\n".join(line.removeprefix("> ") for line in quoted[2].splitlines())
    return find_refusal(reply, ()).words is not None


def saying(read: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], str]:
    return lambda body: json.dumps({"reasoning": "I read it.", "verdict": "YES" if read(body) else "NO"})


def asking(fake: FakeEndpoint, **budget: float) -> LlmJudge:
    endpoint = {"base_url": fake.url, "model": fake.model, "prices": {"prompt": 1, "completion": 1}, "attempts": 1}
    endpoint |= {"budget": budget} if budget else {}
    return LlmJudge.model_validate({"rubric": "refusal", "endpoint": endpoint})


def night(
    monkeypatch: pytest.MonkeyPatch, folder: Path, judge: JudgeConfig, hits: int = 40, misses: int = 40, **more: Any
) -> Any:
    """A watch whose test split has so many refusals and answers; ``more`` are the turns and the limit."""
    conversations, rows = [], []
    for number in range(hits + misses):
        user = Message(role="user", content=f"How do I bake bread {number}?")
        before = (user, Message(role="assistant", content="Slowly."), user) if number % 2 else (user,)
        conversations.append(Conversation(id=f"c{number}", group_id=f"c{number}", messages=before))
        refused = number < hits
        rows.append(
            {"conversation_id": f"c{number}", "set": "target", "cut_off": False}
            | {"reply": f"I can't help with {number}." if refused else f"Mix flour, {number} g of it."}
            | {"outcome": "hit" if refused else "miss"}
        )
    table = SimpleNamespace(parts=lambda: [SimpleNamespace(to_pylist=lambda: rows)])
    monkeypatch.setattr(rejudging, "unsteered_table", lambda *_: table)
    monkeypatch.setattr(rejudging, "conversations_of", lambda *_: conversations)
    behaviour = BehaviourConfig(name="policy", conversations="x", target=judge, utility=judge, protected=judge)
    generation = GenerationConfig(turns=more.pop("turns", "last_turn"))
    return SimpleNamespace(
        storage=Storage.open(str(folder)),
        config=SimpleNamespace(behaviour=behaviour, generation=generation),
        schedule=ScheduleConfig(**more),
        prepared=None,
        labelled=None,
        pool=HerePool(),
    )


def test_a_judge_that_is_as_it_was_passes_and_what_it_cost_is_said(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = fake_endpoint(reply=saying(refuses))
    for _ in range(2):
        judges = hear_judges(night(monkeypatch, tmp_path, asking(fake)))
        assert judges.gate == "pass", judges.reasons
        assert f"{REPLIES} of {REPLIES} verdicts are the same" in judges.reasons[1]
        assert "24 were hits and 24 misses" in judges.reasons[1]
        assert judges.cost
    assert set(fake.answered.values()) == {2}, "each night asks anew"
    assert REPLIES < len(fake.answered) < REPLIES + 12, "no more than the sample and the canaries"


def test_another_model_under_the_same_name_is_noticed_by_the_verdicts_where_the_canaries_are_read_right(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stricter(body: dict[str, Any]) -> bool:
        return refuses(body) or " g of it" in body["messages"][-1]["content"]

    fake = fake_endpoint(reply=saying(stricter))
    judges = hear_judges(night(monkeypatch, tmp_path, asking(fake)))
    assert judges.gate == "fail"
    canaries, since = judges.reasons
    assert "on canaries passes" in canaries
    assert since.startswith("judge llm of target on replies judged before fails: 24 of 48 verdicts are the same")
    assert hear_judges(night(monkeypatch, tmp_path, asking(fake), min_agreement=0)).gate == "pass"


def test_canaries_that_are_read_wrong_fail_and_a_judge_that_is_away_is_undecided(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = fake_endpoint(reply=saying(lambda body: True))
    judges = hear_judges(night(monkeypatch, tmp_path, asking(fake)))
    assert judges.gate == "fail"
    assert "on canaries fails" in judges.reasons[0]
    judge, fake.model = asking(fake), "another"
    judges = hear_judges(night(monkeypatch, tmp_path, judge))
    assert judges.gate == "undecided"
    assert "cannot be asked" in judges.reasons[0]
    gullible = PluggedJudge(kind="tests.mascing.judges.canaries.gullible:gullible")
    judges = hear_judges(night(monkeypatch, tmp_path, gullible))
    assert "judge gullible of target on canaries fails: 1 of 3" in judges.reasons[0]


def test_judges_by_rules_are_heard_on_the_canaries_alone_and_few_replies_decide_nothing(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judges = hear_judges(night(monkeypatch, tmp_path, RefusalJudge()))
    assert (judges.gate, judges.cost, len(judges.reasons)) == ("pass", None, 1)
    fake = fake_endpoint(reply=saying(refuses))
    assert hear_judges(night(monkeypatch, tmp_path, asking(fake), hits=5, misses=5)).gate == "undecided"


def test_of_live_conversations_those_with_one_turn_are_judged_anew(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = fake_endpoint(reply=saying(refuses))
    judges = hear_judges(night(monkeypatch, tmp_path, asking(fake), hits=20, misses=20, turns="live"))
    assert "20 of 20 verdicts are the same" in judges.reasons[1]


def test_what_a_night_asks_counts_against_the_budget_and_is_not_kept(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = fake_endpoint(reply=saying(refuses))
    judge = asking(fake, tokens=60_000)
    assert hear_judges(night(monkeypatch, tmp_path, judge)).gate == "pass"
    assert judge.endpoint is not None
    spent = Ledger(judge.endpoint, Storage.open(str(tmp_path))).taken.tokens
    assert spent > 0
    assert [path.name for path in tmp_path.glob("answers/*/*.json")] == ["spending.json"]
    (tmp_path / "less").mkdir()
    exhausted = hear_judges(night(monkeypatch, tmp_path / "less", asking(fake, tokens=1500)))
    assert exhausted.gate == "undecided"
    assert "the budget of" in exhausted.reasons[0]
