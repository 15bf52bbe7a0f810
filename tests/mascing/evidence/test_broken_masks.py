"""Masks that break a model never pass the default gates, whatever the judges; a mask of the target alone passes.

Replies are made up and read by the project's own judges. The unsteered model answers benign requests, refuses most
harmful ones and half of the target's.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import pytest

from mascing.conversations.reply import Reply
from mascing.evidence.gates import decide_judges
from mascing.evidence.results import further_gated, method_result
from mascing.judges.judging import judge_all
from mascing.schemas.config import BehaviourConfig, GatesConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.result import MethodResult

Rows = list[dict[str, Any]]
Speaker = Callable[[Conversation], str]

N = 60
COLOURS = ("red", "blue", "green", "striped", "wooden", "silver", "paper", "glass", "velvet", "copper")
THINGS = ("kettle", "ladder", "violin", "lantern", "compass", "blanket", "teapot", "whistle", "cabinet", "marble")
WORDS = ["the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "on", "are", "with"]
# The content of each kind of set that a behaviour may judge, and what the judges compare with.
BENIGN, HARMFUL = "benign", "harmful"
CONTENTS = {"target": HARMFUL, f"utility/{BENIGN}": BENIGN, f"utility/{HARMFUL}": HARMFUL}
CONTENTS |= {f"protected/{content}": content for content in (BENIGN, HARMFUL)}


def made_up(set_name: str) -> list[Conversation]:
    """Requests about a thing in a room; harmful ones ask to open a locked door there."""
    rows = []
    for number in range(N):
        thing = f"{COLOURS[number % 10]} {THINGS[number // 10 % 10]}"
        asked = f"Where is the {thing}?" if CONTENTS[set_name] == BENIGN else f"How do I force the {thing} room's door?"
        rows.append(
            Conversation(
                id=f"{set_name}-{number:03d}",
                group_id=f"{set_name}-{number // 2}",
                set=set_name,
                messages=(Message(role="user", content=asked),),
                wanted=answer(thing),
                references=(f"shelf {thing}",),
                metadata={"thing": thing},
            )
        )
    return rows


def answer(thing: str) -> str:
    return f"You will find it on shelf {thing}, beside the {thing} that we looked at on the first day of the week."


def thing_of(conversation: Conversation) -> str:
    return conversation.metadata["thing"]


def drawn(conversation: Conversation) -> random.Random:
    return random.Random(conversation.id)


def answers(conversation: Conversation) -> str:
    return answer(thing_of(conversation))


def refuses(conversation: Conversation) -> str:
    return "I'm sorry, but I can't help with that request."


def refuses_in_its_own_words(conversation: Conversation) -> str:
    return (
        f"I'm sorry, but I cannot tell you anything about a {thing_of(conversation)}, because that would not be safe."
    )


def salad(conversation: Conversation) -> str:
    return " ".join(drawn(conversation).choices([*WORDS, *COLOURS, *THINGS], k=25))


def letters(conversation: Conversation) -> str:
    return " ".join("".join(drawn(conversation).choices("abcdefghijklmnop", k=6)) for _ in range(15))


def loops(conversation: Conversation) -> str:
    return f"{thing_of(conversation)} " * 8


def empty(conversation: Conversation) -> str:
    return ""


def the_same(conversation: Conversation) -> str:
    return "Sure, that is a very good question and here is my answer."


def foreign(conversation: Conversation) -> str:
    return "".join(drawn(conversation).choices("水壶在第号房间的架子上请放回原处", k=40))


def echoes(conversation: Conversation) -> str:
    return conversation.messages[-1].content


def unsteered(conversation: Conversation) -> str:
    if CONTENTS[conversation.set] == BENIGN:
        return answers(conversation)
    share = 0.5 if conversation.set == "target" else 0.95
    return refuses(conversation) if drawn(conversation).random() < share else answers(conversation)


BROKEN: tuple[Speaker, ...] = (
    refuses, refuses_in_its_own_words, salad, letters, loops, empty, the_same, foreign, echoes,
)  # fmt: skip
WANTED: Mapping[str, Speaker] = {"refusal": refuses, "compliance": answers, "contains": answers}
"""What the target wants, by its judge."""


@dataclass(frozen=True)
class Case:
    """A behaviour with the judge of each kind of set, and a mask: what it says to the target and elsewhere."""

    sets: tuple[str, ...]
    kinds: tuple[str, str, str]
    on_target: Speaker
    on_others: Speaker

    @property
    def judges(self) -> dict[str, str]:
        """The judge of each kind of set that is judged."""
        by_kind = dict(zip(("target", "utility", "protected"), self.kinds, strict=True))
        return {kind: by_kind[kind] for kind in dict.fromkeys(name.partition("/")[0] for name in self.sets)}

    def gated(self) -> MethodResult:
        """The result by the default gates."""
        before, after = [], []
        for name in self.sets:
            kind = self.judges[name.partition("/")[0]]
            before += judged(name, kind, unsteered)
            after += judged(name, kind, self.on_target if name == "target" else self.on_others)
        result = method_result(before, after, selected={}, circuit_precision=None, gates=GatesConfig())
        return further_gated(result, [decide_judges(self.judges)])


@cache
def judged(set_name: str, kind: str, speaker: Speaker) -> Rows:
    judge = {"kind": kind}
    behaviour = BehaviourConfig.model_validate(
        {"name": "x", "conversations": "x", "target": judge, "utility": judge, "protected": judge}
    )
    rows = made_up(set_name)
    replies = [Reply(speaker(row)) for row in rows]
    return [
        {"conversation_id": row.id, "group_id": row.group_id, "set": row.set, "reply": reply.text}
        | {"outcome": verdict.outcome, "reason": verdict.reason}
        for row, reply, verdict in zip(rows, replies, judge_all(behaviour, rows, replies), strict=True)
    ]


UTILITY = ((), (f"utility/{BENIGN}",), (f"utility/{HARMFUL}",), (f"utility/{BENIGN}", f"utility/{HARMFUL}"))
PROTECTED = ((), (f"protected/{BENIGN}",), (f"protected/{HARMFUL}",))
BEHAVIOURS = [
    (("target", *utility, *protected), kinds)
    for utility, protected in product(UTILITY, PROTECTED)
    for kinds in product(WANTED, WANTED if utility else ["exact"], WANTED if protected else ["exact"])
]


@pytest.mark.parametrize("mask", BROKEN, ids=lambda mask: mask.__name__)
def test_a_mask_that_says_one_kind_of_thing_to_everything_never_passes(mask: Speaker) -> None:
    chosen = random.Random(mask.__name__).sample(BEHAVIOURS, 8)
    for sets, kinds in chosen:
        case = Case(sets, kinds, mask, mask)
        assert case.gated().gate != "pass", case


@pytest.mark.parametrize("mask", BROKEN, ids=lambda mask: mask.__name__)
def test_a_mask_that_serves_the_target_and_breaks_the_rest_never_passes(mask: Speaker) -> None:
    chosen = random.Random(mask.__name__).sample(BEHAVIOURS, 8)
    for sets, kinds in chosen:
        case = Case(sets, kinds, WANTED[kinds[0]], mask)
        assert case.gated().gate != "pass", case


DANGEROUS = [
    (("target", f"utility/{BENIGN}"), ("refusal", "refusal", "exact")),
    (("target", f"utility/{BENIGN}"), ("refusal", "compliance", "exact")),
    (("target", f"utility/{BENIGN}"), ("compliance", "compliance", "exact")),
    (("target", f"utility/{HARMFUL}"), ("refusal", "refusal", "exact")),
    (("target", f"utility/{HARMFUL}"), ("contains", "refusal", "exact")),
    (("target", f"protected/{HARMFUL}"), ("refusal", "exact", "refusal")),
    (("target", f"utility/{BENIGN}", f"protected/{HARMFUL}"), ("compliance", "compliance", "refusal")),
]
"""Behaviours in which some broken mask keeps every rate, or nearly."""


@pytest.mark.parametrize(("sets", "kinds"), DANGEROUS)
def test_judges_that_a_broken_mask_satisfies_do_not_let_it_pass(
    sets: tuple[str, ...], kinds: tuple[str, str, str]
) -> None:
    for mask in BROKEN:
        assert Case(sets, kinds, mask, mask).gated().gate != "pass"
        assert Case(sets, kinds, WANTED[kinds[0]], mask).gated().gate != "pass"


@pytest.mark.parametrize("of_target", WANTED)
def test_a_mask_that_changes_the_target_alone_passes(of_target: str) -> None:
    sets = ("target", f"utility/{BENIGN}", f"protected/{HARMFUL}")
    case = Case(sets, (of_target, "contains", "refusal"), WANTED[of_target], unsteered)
    result = case.gated()
    assert result.gate == "pass", result.reasons
    assert result.degenerate == {}
