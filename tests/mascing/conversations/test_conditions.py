"""Changed conditions: what they change, what they keep, and what they are left out for."""

import pytest

from mascing.conversations.conditions import Condition, conditions, sample
from mascing.schemas.config import GenerationConfig, RobustnessConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.testbeds.planted import conversations as rows_of

GENERATION = GenerationConfig(max_new_tokens=4)


def conversation(number: int, group: int, *turns: str, kind: str = "target", **fields: str) -> Conversation:
    """Turns of user and assistant in turn; an even number of them begins with the system's."""
    roles = ["user", "assistant"] * len(turns) if len(turns) % 2 else ["system", *["user", "assistant"] * len(turns)]
    messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
    return Conversation.model_validate(
        {"id": f"c{number}", "group_id": f"{kind}-{group}", "set": kind, "messages": messages, **fields}
    )


TALKS = [
    conversation(n, n // 2, f"hello {n}", "yes", f"where is {n}", paraphrase=f"tell me where {n} is") for n in range(8)
]
ONLY = {"paraphrase": False, "system_prompts": (), "temperatures": (), "earlier_exchanges": 0}


def only(talks: list[Conversation], **changes: object) -> list[Condition]:
    return conditions(RobustnessConfig.model_validate({**ONLY, **changes}), talks, GENERATION)


def texts(one: Conversation) -> list[str]:
    return [message.content for message in one.messages]


def test_by_default_all_four_kinds_are_tried_on_the_same_conversations() -> None:
    found = conditions(RobustnessConfig(), TALKS, GENERATION)
    assert [one.name for one in found] == [
        "paraphrase",
        "system prompt",
        "temperature 0.7",
        "2 exchanges longer",
    ]
    for one in found:
        assert one.left_out is None
        assert [(c.id, c.group_id, c.set) for c in one.conversations] == [(c.id, c.group_id, c.set) for c in TALKS]


def test_a_paraphrase_takes_the_place_of_the_final_turn_alone() -> None:
    [found] = only(TALKS, paraphrase=True)
    assert texts(found.conversations[3]) == ["hello 3", "yes", "tell me where 3 is"]


def test_a_set_without_paraphrases_leaves_the_condition_out_with_the_reason() -> None:
    [found] = only([*TALKS, conversation(9, 9, "explain it", kind="utility/facts")], paraphrase=True)
    assert found.conversations == ()
    assert found.left_out is not None
    assert "utility/facts has a paraphrase" in found.left_out


def test_a_system_prompt_stands_first_and_keeps_the_conversations_own() -> None:
    own = conversation(9, 9, "Be short.", "where is it")
    first, second = only([TALKS[0], own], system_prompts=("Be kind.", "Be brief."))
    assert [one.name for one in (first, second)] == ["system prompt 1", "system prompt 2"]
    assert texts(first.conversations[0]) == ["Be kind.", *texts(TALKS[0])]
    assert texts(first.conversations[1]) == ["Be kind.\nBe short.", "where is it"]
    assert second.conversations[0].messages[0] == Message(role="system", content="Be brief.")


def test_a_temperature_changes_the_generation_and_no_conversation() -> None:
    [found] = only(TALKS, temperatures=(0.5,))
    assert found.conversations == tuple(TALKS)
    assert found.generation == GENERATION.model_copy(update={"temperature": 0.5})


def test_a_longer_talk_begins_with_exchanges_of_other_groups() -> None:
    [found] = only(TALKS, earlier_exchanges=3)
    for one, before in zip(found.conversations, TALKS, strict=True):
        assert texts(one)[6:] == texts(before)
        lent = texts(one)[0:6:2]
        assert all(text.startswith("hello") for text in lent)
        own = {f"hello {other.id[1:]}" for other in TALKS if other.group_id == before.group_id}
        assert own.isdisjoint(lent)
    assert only(TALKS, earlier_exchanges=3) == only(list(TALKS), earlier_exchanges=3)


def test_single_turns_lend_their_request_with_the_wanted_reply_behind_the_system_turn() -> None:
    talks = [conversation(n, n, "Be short.", f"where is {n}", wanted=f"there {n}") for n in range(3)]
    [found] = only(talks, earlier_exchanges=1)
    said = texts(found.conversations[0])
    assert said[0] == "Be short."
    assert said[1:] in (["where is 1", "there 1", "where is 0"], ["where is 2", "there 2", "where is 0"])


def test_nothing_to_lend_leaves_the_longer_talk_out() -> None:
    [found] = only([conversation(n, n, f"where is {n}") for n in range(3)], earlier_exchanges=1)
    assert found.left_out is not None
    assert "give rows earlier turns" in found.left_out


@pytest.mark.parametrize("most", [1, 4, 5, 100])
def test_a_sample_holds_whole_groups_of_every_set_and_no_more_than_asked(most: int) -> None:
    rows = rows_of("jailbreak-defence", 0)
    chosen = sample(rows, most)
    sizes = {name: sum(one.set == name for one in rows) for name in {one.set for one in rows}}
    for name, size in sizes.items():
        mine = [one for one in chosen if one.set == name]
        groups = {one.group_id for one in mine}
        assert mine == [one for one in rows if one.set == name and one.group_id in groups]
        assert 0 < len(mine) <= max(most, 4)
        assert len(mine) > min(most, size) - 4


def test_a_sample_is_the_same_whatever_else_is_there() -> None:
    rows = rows_of("jailbreak-defence", 0)
    target = [one for one in rows if one.set == "target"]
    assert sample(target, 40) == [one for one in sample(rows, 40) if one.set == "target"]
    assert {one.id for one in sample(rows[::-1], 40)} == {one.id for one in sample(rows, 40)}
