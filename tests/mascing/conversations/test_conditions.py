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


def texts(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


def test_by_default_all_four_kinds_are_tried_on_the_same_conversations() -> None:
    made_conditions = conditions(RobustnessConfig(), TALKS, GENERATION)
    assert [condition.name for condition in made_conditions] == [
        "paraphrase",
        "system prompt",
        "temperature 0.7",
        "2 exchanges longer",
    ]
    for condition in made_conditions:
        assert condition.left_out is None
        assert [(c.id, c.group_id, c.set) for c in condition.conversations] == [
            (c.id, c.group_id, c.set) for c in TALKS
        ]


def test_a_paraphrase_takes_the_place_of_the_final_turn_alone() -> None:
    [condition] = only(TALKS, paraphrase=True)
    assert texts(condition.conversations[3]) == ["hello 3", "yes", "tell me where 3 is"]


def test_a_set_without_paraphrases_leaves_the_condition_out_with_the_reason() -> None:
    [condition] = only([*TALKS, conversation(9, 9, "explain it", kind="utility/facts")], paraphrase=True)
    assert condition.conversations == ()
    assert condition.left_out is not None
    assert "utility/facts has a paraphrase" in condition.left_out


def test_a_system_prompt_stands_first_and_keeps_the_conversations_own() -> None:
    own = conversation(9, 9, "Be short.", "where is it")
    first, second = only([TALKS[0], own], system_prompts=("Be kind.", "Be brief."))
    assert [condition.name for condition in (first, second)] == ["system prompt 1", "system prompt 2"]
    assert texts(first.conversations[0]) == ["Be kind.", *texts(TALKS[0])]
    assert texts(first.conversations[1]) == ["Be kind.\nBe short.", "where is it"]
    assert second.conversations[0].messages[0] == Message(role="system", content="Be brief.")


def test_a_temperature_changes_the_generation_and_no_conversation() -> None:
    [condition] = only(TALKS, temperatures=(0.5,))
    assert condition.conversations == tuple(TALKS)
    assert condition.generation == GENERATION.model_copy(update={"temperature": 0.5})


def test_a_longer_talk_begins_with_exchanges_of_other_groups() -> None:
    [condition] = only(TALKS, earlier_exchanges=3)
    for changed, before in zip(condition.conversations, TALKS, strict=True):
        assert texts(changed)[6:] == texts(before)
        lent = texts(changed)[0:6:2]
        assert all(text.startswith("hello") for text in lent)
        own = {f"hello {other.id[1:]}" for other in TALKS if other.group_id == before.group_id}
        assert own.isdisjoint(lent)
    assert only(TALKS, earlier_exchanges=3) == only(list(TALKS), earlier_exchanges=3)


def test_single_turns_lend_their_request_with_the_wanted_reply_behind_the_system_turn() -> None:
    talks = [conversation(n, n, "Be short.", f"where is {n}", wanted=f"there {n}") for n in range(3)]
    [condition] = only(talks, earlier_exchanges=1)
    turns = texts(condition.conversations[0])
    assert turns[0] == "Be short."
    assert turns[1:] in (["where is 1", "there 1", "where is 0"], ["where is 2", "there 2", "where is 0"])


def test_nothing_to_lend_leaves_the_longer_talk_out() -> None:
    [condition] = only([conversation(n, n, f"where is {n}") for n in range(3)], earlier_exchanges=1)
    assert condition.left_out is not None
    assert "give rows earlier turns" in condition.left_out


@pytest.mark.parametrize("most", [1, 4, 5, 100])
def test_a_sample_holds_whole_groups_of_every_set_and_no_more_than_asked(most: int) -> None:
    rows = rows_of("jailbreak-defence", 0)
    chosen = sample(rows, most)
    sizes = {name: sum(row.set == name for row in rows) for name in {row.set for row in rows}}
    for name, size in sizes.items():
        mine = [row for row in chosen if row.set == name]
        groups = {row.group_id for row in mine}
        assert mine == [row for row in rows if row.set == name and row.group_id in groups]
        assert 0 < len(mine) <= max(most, 4)
        assert len(mine) > min(most, size) - 4


def test_a_sample_is_the_same_whatever_else_is_there() -> None:
    rows = rows_of("jailbreak-defence", 0)
    target = [row for row in rows if row.set == "target"]
    assert sample(target, 40) == [row for row in sample(rows, 40) if row.set == "target"]
    assert {row.id for row in sample(rows[::-1], 40)} == {row.id for row in sample(rows, 40)}
