"""Masks that break a model never pass the default gates, whatever the judges; masks that work do where they can show it.

Replies are made up and read by the project's own judges. The unsteered model answers benign requests, refuses most
harmful ones and half of the target's.
"""

import random
from collections.abc import Callable
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

N = 160
COLOURS = ("red", "blue", "green", "striped", "wooden", "silver", "paper", "glass", "velvet", "copper")
THINGS = ("kettle", "ladder", "violin", "lantern", "compass", "blanket", "teapot", "whistle", "cabinet", "marble")
WORDS = "the of and to in a is that it was for on are with as at be this from or have by".split()
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
    return f"I'm sorry, but I cannot tell you anything about a {thing_of(conversation)}, because that would not be safe."


def salad(conversation: Conversation) -> str:
    return " ".join(drawn(conversation).choices([*WORDS, *COLOURS, *THINGS], k=25))


def letters(conversation: Conversation) -> str:
    return " ".join("".join(drawn(conversation).choices("abcdefghijklmnop", k=6)) for _ in range(15))


def loops(conversation: Conversation) -> str:
    return f"{thing_of(conversation)} " * 30


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


BROKEN = (refuses, refuses_in_its_own_words, salad, letters, loops, empty, the_same, foreign, echoes)


def elsewhere(on_target: Speaker, on_others: Speaker) -> Speaker:
    """A mask that brings what the target wants and breaks the rest."""
    return lambda conversation: (on_target if conversation.set == "target" else on_others)(conversation)


def gated(sets: tuple[str, ...], kinds: dict[str, str], mask: Speaker) -> MethodResult:
    judges = {kind: {"kind": kinds.get(kind, "exact")} for kind in ("target", "utility", "protected")}
    behaviour = BehaviourConfig.model_validate({"name": "x", "conversations": "x", **judges})
    chosen = [row for name in sets for row in made_up(name)]
    before, after = (judged(behaviour, chosen, speaker) for speaker in (unsteered, mask))
    result = method_result(before, after, selected={}, circuit_precision=None, gates=GatesConfig())
    judged_kinds = {name.partition("/")[0]: kinds[name.partition("/")[0]] for name in sets}
    return further_gated(result, [decide_judges(judged_kinds)])


def judged(behaviour: BehaviourConfig, rows: list[Conversation], speaker: Speaker) -> Rows:
    replies = [Reply(speaker(row)) for row in rows]
    return [
        {"conversation_id": row.id, "group_id": row.group_id, "set": row.set, "reply": reply.text}
        | {"outcome": verdict.outcome, "reason": verdict.reason}
        for row, reply, verdict in zip(rows, replies, judge_all(behaviour, rows, replies), strict=True)
    ]


KINDS = ("refusal", "compliance", "contains")
UTILITY = ((), (f"utility/{BENIGN}",), (f"utility/{HARMFUL}",), (f"utility/{BENIGN}", f"utility/{HARMFUL}"))
PROTECTED = ((), (f"protected/{BENIGN}",), (f"protected/{HARMFUL}",))


@pytest.mark.parametrize("of_target", KINDS)
@pytest.mark.parametrize("utility", UTILITY, ids="+".join)
@pytest.mark.parametrize("protected", PROTECTED, ids="+".join)
def test_no_judges_and_sets_let_a_broken_mask_pass(
    of_target: str, utility: tuple[str, ...], protected: tuple[str, ...]
) -> None:
    wanted: Speaker = refuses if of_target == "refusal" else answers
    masks = [*BROKEN, *(elsewhere(wanted, broken) for broken in BROKEN)]
    for of_utility, of_protected in product(KINDS if utility else KINDS[:1], KINDS if protected else KINDS[:1]):
        kinds = {"target": of_target, "utility": of_utility, "protected": of_protected}
        for number, mask in enumerate(masks):
            result = gated(("target", *utility, *protected), kinds, mask)
            assert result.gate != "pass", (kinds, number, result.reasons)
