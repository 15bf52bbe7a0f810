"""Live conversations: each verdict is that of a straightforward loop, and nothing is generated or judged twice."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mascing.conversations.reply import Reply
from mascing.engines.engine import Turn
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import BehaviourConfig, GenerationConfig, ModelConfig, RunConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.generation_settings import StopConfig, stop_of
from mascing.schemas.settings.judge_settings import ContainsJudge, RefusalJudge
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage
from mascing.tasks.replying import replies, verdict_pieces
from mascing.tasks.replying.judged import Judging, Steered
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.streaming.asked import Asked
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

SPEC = RouterSpec("olmoe", (0,), n_experts=4, top_k=2, scoring="softmax")
MASK = Mask.from_bias(torch.ones(1, 4), SPEC)
MASKS: list[Steered] = [("baseline", None), ("steered", MASK)]


def config_of(stop: str, generation: dict[str, Any] | None = None) -> RunConfig:
    refusal = RefusalJudge(phrases=("no",))
    return RunConfig(
        model=ModelConfig(path="org/model"),
        behaviour=BehaviourConfig(
            name="b", conversations="c.jsonl", target=refusal, utility=ContainsJudge(), protected=refusal
        ),
        generation=GenerationConfig.model_validate(
            {"turns": "live", "stop_at": {"target": stop}, **(generation or {})}
        ),
    )


def rows() -> list[Conversation]:
    """Conversations of one to four user turns, with replies in the file that are left out."""
    many = [
        olmoe_folder.conversation(f"c{number}", *("ask", "FILE") * (number % 4), f"ask {number}", system="be brief")
        for number in range(12)
    ]
    facts = olmoe_folder.conversation("fact", "which town?", "FILE", "and its river?")
    return [*many, facts.model_copy(update={"set": "utility/facts", "references": ("c-fact-1-0",)})]


def says(mask: Mask | None, name: str, history: Sequence[Message]) -> Reply:
    """What the fake model replies: it depends on the mask, the conversation and its whole history."""
    assert all(message.content != "FILE" for message in history)
    turn, steered = sum(message.role == "assistant" for message in history), int(mask is not None)
    seed = sum(map(ord, name)) + 3 * turn + 5 * steered
    if name == "c7" and turn == 1:
        return Reply("", thought="a long thought", cut_off=True)
    if name == "c11" and turn == 0:
        return Reply("perhaps", cut_off=True)
    text = "no" if seed % 3 == 0 else f"c-{name}-{turn}-{steered}"
    return Reply(text, thought="never in the history")


def straightforward(config: RunConfig, row: Conversation, mask: Mask | None, stop: str) -> tuple[str, str, int]:
    """Outcome, reply and turn of one conversation, as a reader would write it."""
    users = [message for message in row.messages if message.role == "user"]
    history = [message for message in row.messages if message.role == "system"]
    doubtful = False
    for turn, user in enumerate(users):
        history.append(user)
        played = row.model_copy(update={"messages": tuple(history)})
        reply = says(mask, row.id, history)
        [verdict] = judge_all(config.behaviour, [played], [reply])
        last = turn == len(users) - 1
        if verdict.outcome == stop or (last and (stop == "end" or not doubtful)):
            return verdict.outcome, reply.text, turn
        if last or not reply.text:
            return "unscored", reply.text, turn
        doubtful = doubtful or verdict.outcome == "unscored"
        history.append(Message(role="assistant", content=reply.text))
    raise AssertionError("a conversation has a user turn")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A fake model in place of the real one; returns what it was asked for, by mask and content."""
    made: list[str] = []

    def generated(worker: Any, config: RunConfig, asked: Sequence[Turn]) -> list[Reply]:
        del worker, config
        made.extend(f"{mask is not None} {replies.content_of(row)}" for row, mask in asked)
        return [says(mask, row.id, row.messages) for row, mask in asked]

    monkeypatch.setattr(replies, "generated", generated)
    return made


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many replies the judges were shown in each call."""
    counts: list[int] = []

    def counting(
        behaviour: BehaviourConfig, asked: Sequence[Conversation], said: Sequence[Reply], storage: Storage
    ) -> list[Verdict]:
        counts.append(len(asked))
        return judge_all(behaviour, asked, said, storage)

    monkeypatch.setattr(verdict_pieces, "judge_all", counting)
    return counts


def nothing(done: int, total: int) -> None:
    assert done <= total


@pytest.mark.parametrize("stop", ["hit", "miss", "end"])
def test_each_conversation_is_decided_as_by_a_straightforward_loop(
    stop: str, storage: Storage, model: list[str], heard: list[int]
) -> None:
    config = config_of(stop)
    stops = {"target": stop, "utility/facts": "end"}
    judged = Judging(HerePool(), storage, config, "c" * 64).judge(Asked.given(rows()), MASKS, nothing)
    for (_, mask), of_mask in zip(MASKS, judged, strict=True):
        found = [row for table in of_mask.tables() for row in table.to_pylist()]
        assert [row["conversation_id"] for row in found] == [row.id for row in rows()]
        for row, conversation in zip(found, rows(), strict=True):
            outcome, reply, turn = straightforward(config, conversation, mask, stops[conversation.set])
            assert (row["outcome"], row["reply"]) == (outcome, reply)
            if conversation.turns > 1 and outcome != "unscored":
                assert row["reason"].startswith(f"turn {turn + 1} of {conversation.turns}: ")
            assert (conversation.id in of_mask.early) == (turn + 1 < conversation.turns)
    assert {row["outcome"] for of_mask in judged for row in of_mask.outcomes} == {"hit", "miss", "unscored"}
    assert len(model) == len(set(model)) == sum(heard)
    again = Judging(HerePool(), storage, config, "c" * 64).judge(Asked.given(rows()), MASKS, nothing)
    assert [of_mask.outcomes for of_mask in again] == [of_mask.outcomes for of_mask in judged]
    assert len(model) == sum(heard)  # the second start found every reply and every verdict


def test_what_an_assistant_says_before_any_user_is_history_and_no_reply_of_the_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[tuple[str, str]]] = []

    def generated(worker: Any, config: RunConfig, asked: Sequence[Turn]) -> list[Reply]:
        shown.extend([(message.role, message.content) for message in row.messages] for row, _ in asked)
        return [Reply("no")] * len(asked)

    monkeypatch.setattr(replies, "generated", generated)
    plain = olmoe_folder.conversation("greeted", "ask", "FILE", "ask again", system="be brief")
    system, *rest = plain.messages
    greeted = plain.model_copy(update={"messages": (system, Message(role="assistant", content="Welcome!"), *rest)})
    Judging(HerePool(), storage, config_of("end"), "c" * 64).judge(Asked.given([greeted]), MASKS[:1], nothing)
    begun = [("system", "be brief"), ("assistant", "Welcome!"), ("user", "ask")]
    assert shown == [begun, [*begun, ("assistant", "no"), ("user", "ask again")]]


def test_a_judge_that_cannot_tell_on_the_way_leaves_the_end_open_unless_a_later_turn_stops(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {  # what the model says in each turn, and the outcome under stop `miss` and under `end`
        "doubt": (["no", "", "no"], ("unscored", "unscored")),
        "cut": (["no", "perhaps", "no"], ("unscored", "hit")),
        "stopped": (["no", "perhaps", "yes, with pleasure"], ("miss", "miss")),
    }
    chats = [olmoe_folder.conversation(name, "one", "FILE", "two", "FILE", "three") for name in said]

    def generated(worker: Any, config: RunConfig, asked: Sequence[Turn]) -> list[Reply]:
        texts = [said[row.id][0][row.turns - 1] for row, _ in asked]
        return [Reply(text, cut_off=text == "perhaps") for text in texts]

    monkeypatch.setattr(replies, "generated", generated)
    for place, stop in enumerate(("miss", "end")):
        judging = Judging(HerePool(), storage, config_of(stop), "c" * 64)
        [judged] = judging.judge(Asked.given(chats), MASKS[:1], nothing)
        found = {row["conversation_id"]: row for table in judged.tables() for row in table.to_pylist()}
        assert {name: row["outcome"] for name, row in found.items()} == {
            name: outcomes[place] for name, (_, outcomes) in said.items()
        }
        assert judged.early == {"doubt"}
        assert found["doubt"]["reason"] == "turn 2 of 3: the reply is empty, so that the conversation cannot go on"
        assert found["cut"]["reason"].startswith("turn 2 of 3" if stop == "miss" else "turn 3 of 3")


def test_the_cost_of_a_live_conversation_is_that_of_all_its_turns(
    storage: Storage, model: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = Verdict(outcome="hit", reason="r", raw="VERDICT: YES", cost=0.5)
    monkeypatch.setattr(verdict_pieces, "judge_all", lambda behaviour, asked, *_: [paid] * len(asked))
    judging = Judging(HerePool(), storage, config_of("end"), "c" * 64)
    chats = [row for row in rows() if row.id in ("c1", "c2", "c4")]
    [judged] = judging.judge(Asked.given(chats), MASKS[:1], nothing)
    [table] = judged.tables()
    assert table["cost"].to_pylist() == [0.5 * row.turns for row in chats]
    assert judging.cost == sum(table["cost"].to_pylist()) == 0.5 * len(model)


@pytest.mark.parametrize(
    ("judge", "stop"),
    [
        ({"kind": "refusal"}, "end"),
        ({"kind": "compliance"}, "end"),
        ({"kind": "exact"}, "end"),
        ({"kind": "llama_guard", "family": "llama_guard", "hit_if": "unsafe"}, "hit"),
        ({"kind": "llama_guard", "family": "llama_guard", "hit_if": "safe"}, "miss"),
        ({"kind": "llama_guard", "family": "wildguard", "hit_if": "refusal"}, "end"),
    ],
)
def test_by_default_a_friendly_reply_to_a_harmless_turn_ends_nothing(judge: dict[str, Any], stop: str) -> None:
    model = {"model": {"path": "org/guard"}} if judge["kind"] == "llama_guard" else {}
    behaviour = config_of("end").behaviour.model_dump() | {"target": {**judge, **model}}
    assert stop_of(GenerationConfig(turns="live"), "target", BehaviourConfig.model_validate(behaviour).target) == stop


def test_a_judge_of_its_own_says_where_the_conversations_of_a_set_stop() -> None:
    guard: dict[str, Any] = {"kind": "llama_guard", "family": "llama_guard", "hit_if": "unsafe"}
    guard |= {"endpoint": {"kind": "openai", "model": "guard"}}

    def judged_by(judge: dict[str, Any]) -> RunConfig:
        config = config_of("end").model_dump()
        return RunConfig.model_validate(
            config | {"behaviour": config["behaviour"] | {"judges": {"protected/p": judge}}}
        )

    stops = judged_replies_identity(judged_by(guard))["generation"]["stop_at"]
    assert (stops["protected"], stops["protected/p"]) == ("end", "hit")
    with pytest.raises(ValidationError, match=r"generation\.stop_at\.protected: say hit, miss or end"):
        judged_by({"kind": "tests.tasks.coin_judge:coin"})


def test_a_killed_start_goes_on_with_the_rounds_that_it_finished(
    storage: Storage, model: list[str], heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, plain = 2, Judging.last_turns

    def dies(self: Judging, *arguments: Any) -> Any:
        nonlocal first
        if (first := first - 1) < 0:
            raise KeyboardInterrupt
        return plain(self, *arguments)

    judging = Judging(HerePool(), storage, config_of("end"), "c" * 64)
    monkeypatch.setattr(Judging, "last_turns", dies)
    with pytest.raises(KeyboardInterrupt):
        judging.judge(Asked.given(rows()), MASKS, nothing)
    monkeypatch.setattr(Judging, "last_turns", plain)
    before = len(model)
    assert before > 0
    Judging(HerePool(), storage, config_of("end"), "c" * 64).judge(Asked.given(rows()), MASKS, nothing)
    assert before < len(model) == len(set(model)) == sum(heard)


def test_a_single_turn_is_decided_alike_live_or_not(storage: Storage, model: list[str]) -> None:
    single = [row for row in rows() if row.turns == 1]
    fixed = config_of("end").model_copy(update={"generation": GenerationConfig()})
    outcomes = [
        Judging(HerePool(), storage, config, "c" * 64).judge(Asked.given(single), MASKS, nothing)[1].outcomes
        for config in (fixed, config_of("miss"))
    ]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("generation", "said"),
    [
        ({"turns": "last_turn", "stop_at": {"target": "hit"}}, "set generation.turns to live"),
        ({"turns": "live"}, r"generation.stop_at.protected: say hit, miss or end"),
    ],
)
def test_where_a_conversation_stops_is_checked_when_the_config_is_loaded(generation: dict[str, Any], said: str) -> None:
    config = config_of("end").model_dump()
    plugged = {"kind": "tests.recipes.my_package.judging:courtesy", "words": ["please"], "at_least": 1}
    config["behaviour"]["protected"] = plugged
    with pytest.raises(ValueError, match=said):
        RunConfig.model_validate({**config, "generation": generation})
    assert StopConfig() == GenerationConfig().stop_at
