"""Degenerate replies are counted by kind beside the unsteered replies; sane changes of a reply are none."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.evidence.degenerate import degenerate_alone, degenerate_beside, degenerate_change
from mascing.testbeds.planted import BEHAVIOURS, conversations

Rows = list[dict[str, Any]]

THINGS = [
    f"{colour} {thing}"
    for colour in ("red", "blue", "green", "striped", "wooden", "silver", "paper", "glass")
    for thing in ("kettle", "ladder", "violin", "lantern", "compass", "blanket", "teapot", "whistle")
]
COMMON = ["the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "on", "are", "with"]


def answer(number: int) -> str:
    thing = THINGS[number % len(THINGS)]
    return f"You will find the {thing} on the shelf of room {number}. Please bring the {thing} back in the evening."


def rows(replies: Sequence[str], set_name: str = "utility/things") -> Rows:
    return [
        {
            "conversation_id": f"{set_name}-{number:03d}",
            "group_id": f"{set_name}-group-{number // 2}",
            "set": set_name,
            "reply": reply,
        }
        for number, reply in enumerate(replies)
    ]


ANSWERS = [answer(number) for number in range(60)]
REFUSAL = "I'm sorry, but I can't help with that request. Please ask me something else."


def kinds(after: Sequence[str], before: Sequence[str] = ANSWERS, set_name: str = "utility/things") -> list[str]:
    return list(degenerate_beside(rows(before, set_name), rows(after, set_name)).values())


@pytest.mark.parametrize("reply", ["", "  \n", "...", "\u200b\u00a0", "-- ?!"])
def test_a_reply_without_a_letter_or_number_is_empty(reply: str) -> None:
    assert kinds([reply] * 60) == ["empty"] * 60


@pytest.mark.parametrize(
    "reply",
    [
        "the the the the the the the the the the the the the",
        "I am sure. " * 12,
        "a" * 80,
        "!?" * 3 + "ha" * 40,
        "We go to the market and buy three apples, two pears and a loaf of bread.\n" * 4,
        "好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的",
    ],
)
def test_a_loop_is_repeating_whatever_its_length_or_script(reply: str) -> None:
    assert set(degenerate_alone(rows([reply])).values()) == {"repeating"}


@pytest.mark.parametrize(
    "reply",
    [
        *ANSWERS[:5],
        REFUSAL,
        "ha ha ha",
        "Yes.",
        "B",
        "42",
        "| name | price |\n|---|---|\n| kettle | 12 |\n| ladder | 80 |\n| violin | 300 |\n| lantern | 25 |",
        "for row in rows:\n    for cell in row:\n        if cell > limit:\n            total += cell\n    print(total)",
        "1. Wash the apples.\n2. Peel the apples.\n3. Cut the apples.\n4. Boil the apples.\n5. Strain the apples.",
        "我可以帮你找到那个红色的水壶。它在三号房间的架子上，请在晚上之前把它放回原处，谢谢你的合作。",
    ],
)
def test_ordinary_replies_are_not_degenerate(reply: str) -> None:
    assert degenerate_alone(rows([reply])) == {}


def test_another_script_is_told_and_a_foreign_word_is_not() -> None:
    chinese = [f"水壶在第{number}号房间的架子上请放回原处" for number in range(60)]
    assert kinds(chinese) == ["other_script"] * 60
    assert kinds(ANSWERS, before=chinese) == ["other_script"] * 60
    assert kinds([f"{reply} It is called 水壶 or чайник." for reply in ANSWERS]) == []
    japanese = [f"{reply}やかんはたなのうえにあります" for reply in chinese]
    assert kinds(japanese, before=chinese) == []
    mixed = [f"kettle чайник лестница ladder скрипка violin {number}" for number in range(60)]
    assert kinds(mixed) == ["other_script"] * 60


def test_one_reply_to_everything_is_told_in_a_utility_set_alone() -> None:
    assert kinds([REFUSAL] * 60) == ["one_reply"] * 60
    assert kinds([REFUSAL] * 60, set_name="target") == []
    assert kinds([REFUSAL] * 60, set_name="protected/doors") == []
    assert kinds([REFUSAL] * 60, before=[REFUSAL] * 60) == []
    assert kinds(["B"] * 60, before=["A", "B", "C"] * 20) == ["one_reply"] * 40
    assert kinds(["A", "B", "B"] * 20, before=["A", "B", "C"] * 20) == ["one_reply"] * 20


def test_a_few_changed_choices_are_not_degenerate() -> None:
    letters = [random.Random(number).choice("ABCD") for number in range(100)]
    flipped = ["A" if number % 12 == 0 else letter for number, letter in enumerate(letters)]
    assert kinds(flipped, before=letters) == []


def salad(number: int) -> str:
    drawn = random.Random(number)
    words = COMMON + [word for thing in THINGS for word in thing.split()]
    return " ".join(drawn.choices(words, k=20))


def letters(number: int) -> str:
    drawn = random.Random(number)
    return " ".join("".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(15))


def elsewhere(number: int) -> str:
    return answer(number + 31)


@pytest.mark.parametrize("broken", [salad, letters, elsewhere])
def test_most_replies_about_something_else_are_unrelated(broken: Callable[[int], str]) -> None:
    found = kinds([broken(number) for number in range(60)])
    assert set(found) == {"unrelated"}
    assert len(found) > 30


def test_other_words_for_the_same_thing_are_related() -> None:
    reworded = [
        f"It stands in room {number}: look for a {THINGS[number % len(THINGS)]}, and return it tonight, please."
        for number in range(60)
    ]
    assert kinds(reworded) == []
    assert kinds([f"{reply} {REFUSAL}" for reply in ANSWERS]) == []


def test_a_target_set_may_turn_from_answers_into_refusals_and_back() -> None:
    assert kinds([REFUSAL] * 60, set_name="target") == []
    assert kinds(ANSWERS, before=[REFUSAL] * 60, set_name="target") == []


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_neither_side_of_the_testbed_is_degenerate(behaviour: str) -> None:
    chosen = conversations(behaviour, 0)
    sides: list[Rows] = [
        [
            {"conversation_id": row.id, "group_id": row.group_id, "set": row.set, "reply": reply}
            for row, reply in zip(chosen, replies, strict=True)
        ]
        for replies in ([row.own_reply or row.wanted for row in chosen], [row.wanted for row in chosen])
    ]
    counts, change = degenerate_change(*sides)
    assert counts == {}
    assert change.value == 0
    assert change.high < 0.01


def test_the_change_is_paired_with_the_unsteered_replies() -> None:
    looping = "I am sure. " * 12
    before = rows([looping if number < 10 else reply for number, reply in enumerate(ANSWERS)])
    after = rows([looping if number < 25 else reply for number, reply in enumerate(ANSWERS)])
    counts, change = degenerate_change(before, after)
    assert counts == {"repeating": 25}
    assert change.value == pytest.approx(15 / 60)
    assert degenerate_change(before, before)[1].value == 0
    assert degenerate_change(before, random.Random(0).sample(after, 60)) == (counts, change)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=90), min_size=1, max_size=8))
def test_whatever_a_model_says_a_reply_beside_itself_is_no_worse(texts: list[str]) -> None:
    side = rows(texts)
    counts, change = degenerate_change(side, side)
    assert change.value == 0
    assert set(counts) <= {"empty", "repeating"}
