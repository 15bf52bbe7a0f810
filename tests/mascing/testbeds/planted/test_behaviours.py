"""The behaviours' conversations: matched, mirrored, held out, and enough of them."""

from collections import Counter, defaultdict

import pytest

from mascing.conversations.splits import split_of
from mascing.schemas.config import SplitConfig
from mascing.schemas.conversation import Conversation
from mascing.testbeds.planted import BEHAVIOURS, conversations, judges
from mascing.testbeds.planted.behaviours import held_out_goals, training_goals
from mascing.testbeds.planted.language import REFUSAL, TACTICS, TOPICS, NaturalRule

DEFENCE, POLICY = BEHAVIOURS


def of_set(rows: list[Conversation], name: str) -> list[Conversation]:
    return [row for row in rows if row.set == name]


def tactics_of(row: Conversation) -> list[str]:
    return [word for message in row.messages for word in message.content.split() if word in TACTICS]


def form_of(row: Conversation) -> tuple[str, ...]:
    """Everything of a conversation but which tactics it uses."""
    return tuple(
        " ".join("*" if word in TACTICS else word for word in message.content.split()) for message in row.messages
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_splits_are_large_enough_to_decide_and_small_enough_to_search(seed: int) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for row in conversations(DEFENCE, seed):
        counts[split_of(row.group_id, SplitConfig()), row.set] += 1
    assert counts["test", "target"] >= 240
    assert counts["test", "utility/benign"] >= 180
    assert counts["test", "protected/prohibited"] >= 75
    assert 350 <= sum(n for (split, _), n in counts.items() if split == "dev") <= 550


def test_ids_are_unique_and_groups_hold_two_to_four_conversations() -> None:
    rows = conversations(DEFENCE, 0)
    assert len({row.id for row in rows}) == len(rows)
    assert set(Counter(row.group_id for row in rows).values()) <= {2, 3, 4}


def test_positive_and_negative_differ_in_their_tactics_alone() -> None:
    forms: dict[str, dict[str, Counter[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(Counter))
    for row in of_set(conversations(DEFENCE, 0), "target"):
        assert row.label is not None
        forms[row.group_id][row.label][form_of(row)] += 1
    for group in forms.values():
        assert group["positive"] == group["negative"]
        assert group["positive"].total() == 2


def test_turns_and_characters_tell_nothing_about_the_label() -> None:
    shapes: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for row in of_set(conversations(DEFENCE, 0), "target"):
        shapes[str(row.label)][row.turns, sum(len(message.content) for message in row.messages)] += 1
    assert shapes["positive"] == shapes["negative"]


def test_labels_say_what_the_natural_rule_does() -> None:
    rule = NaturalRule(5)
    for row in of_set(conversations(DEFENCE, 5), "target"):
        topic = row.messages[-1].content.split()[-1]
        assert (row.label == "positive") == (not rule.answers(topic, tactics_of(row)))
        assert row.wanted == REFUSAL
        assert row.unwanted is not None
        assert row.unwanted.startswith("sure the ")


def test_content_policy_mirrors_jailbreak_defence() -> None:
    for defence, policy in zip(conversations(DEFENCE, 0), conversations(POLICY, 0), strict=True):
        assert defence.messages == policy.messages
        assert defence.set == policy.set
        if defence.set == "target":
            assert {defence.label, policy.label} == {"positive", "negative"}
            assert (defence.wanted, defence.unwanted) == (policy.unwanted, policy.wanted)
        else:
            assert defence == policy


def test_benign_and_prohibited_come_with_none_to_three_earlier_turns() -> None:
    rows = conversations(DEFENCE, 0)
    for name, topics in (("utility/benign", TOPICS["benign"]), ("protected/prohibited", TOPICS["prohibited"])):
        chosen = of_set(rows, name)
        assert {row.turns for row in chosen} == {1, 2, 3, 4}
        assert {row.messages[-1].content.split()[-1] for row in chosen} == set(topics)
        assert {row.label for row in chosen} == {None}
        assert {row.wanted == REFUSAL for row in chosen} == {name.startswith("protected")}


@pytest.mark.parametrize("kind", TOPICS)
def test_the_model_never_trains_on_a_held_out_goal(kind: str) -> None:
    for name in TOPICS:
        if name == kind:
            assert held_out_goals(name, 0)
            assert set(held_out_goals(name, 0)).isdisjoint(training_goals(name, 0))
            assert {goal.topic for goal in training_goals(name, 0)} == set(TOPICS[name])


def test_conversations_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    assert conversations(DEFENCE, 0) == conversations(DEFENCE, 0)
    assert conversations(DEFENCE, 0) != conversations(DEFENCE, 1)


def test_defence_is_judged_by_refusal_and_policy_by_the_right_answer() -> None:
    assert judges(DEFENCE).target.kind == "refusal"
    assert judges(POLICY).target.kind == "exact"
    for behaviour in BEHAVIOURS:
        assert judges(behaviour).utility.kind == "exact"
        assert judges(behaviour).protected.kind == "refusal"


def test_an_unknown_behaviour_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="jailbreak-defence and content-policy"):
        conversations("politeness", 0)
    with pytest.raises(ValueError, match="politeness"):
        judges("politeness")
