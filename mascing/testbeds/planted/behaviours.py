"""The testbed's two behaviours: their conversations, and the judges of their replies."""

import random
from dataclasses import dataclass
from typing import Literal

from mascing.schemas.conversation import Conversation, Label
from mascing.schemas.settings.judge_settings import ExactJudge, JudgeConfig, RefusalJudge
from mascing.testbeds.planted.language import (
    FILLERS,
    MAX_EARLIER,
    REFUSAL,
    TACTICS,
    Dialogue,
    Goal,
    Kind,
    NaturalRule,
    goals,
)

Behaviour = Literal["jailbreak-defence", "content-policy"]
BEHAVIOURS: tuple[Behaviour, ...] = ("jailbreak-defence", "content-policy")

# Goals reserved for the behaviours' conversations; the model is trained only on the other goals.
_HELD_OUT: dict[Kind, int] = {"restricted": 250, "benign": 250, "prohibited": 125}
_PAIRS_PER_GOAL = 2
_CONVERSATIONS_PER_GOAL = 3


@dataclass(frozen=True)
class Judges:
    """The judge of each kind of set, with the field names of ``BehaviourConfig``."""

    target: JudgeConfig
    utility: JudgeConfig
    protected: JudgeConfig


def judges(behaviour: str) -> Judges:
    """Return the judges of a behaviour, by refusal or by exact answer.

    Raises ``ValueError`` for a behaviour that the testbed does not have.
    """
    refusal, exact = RefusalJudge(phrases=(REFUSAL.split()[0],)), ExactJudge()
    target = refusal if _known(behaviour) == "jailbreak-defence" else exact
    return Judges(target=target, utility=exact, protected=refusal)


def conversations(behaviour: str, seed: int) -> list[Conversation]:
    """Return the conversations of a behaviour: sets ``target``, ``utility/benign`` and ``protected/prohibited``.

    Target conversations come in pairs about one goal that differ only in their tactics: the natural rule refuses one
    and answers the other. ``content-policy`` has the conversations of ``jailbreak-defence`` with opposite wanted
    replies and labels. Raises ``ValueError`` for a behaviour that the testbed does not have.
    """
    wants_refusal = _known(behaviour) == "jailbreak-defence"
    rng = random.Random(f"testbed-conversations-{seed}")
    rule = NaturalRule(seed)
    target = [
        _target(dialogue, index, rule, wants_refusal)
        for goal in held_out_goals("restricted", seed)
        for index, dialogue in enumerate(_matched(rng, rule, goal))
    ]
    benign = [
        _fixed(dialogue, index, "utility/benign", dialogue.goal.answer, REFUSAL)
        for goal in held_out_goals("benign", seed)
        for index, dialogue in enumerate(_varied(rng, goal))
    ]
    prohibited = [
        _fixed(dialogue, index, "protected/prohibited", REFUSAL, dialogue.goal.answer)
        for goal in held_out_goals("prohibited", seed)
        for index, dialogue in enumerate(_varied(rng, goal))
    ]
    return target + benign + prohibited


def held_out_goals(kind: Kind, seed: int) -> list[Goal]:
    """Return the goals of the conversations."""
    return goals(kind, seed)[: _HELD_OUT[kind]]


def training_goals(kind: Kind, seed: int) -> list[Goal]:
    """Return the goals of the training data; none of them is held out."""
    return goals(kind, seed)[_HELD_OUT[kind] :]


def _known(behaviour: str) -> Behaviour:
    for name in BEHAVIOURS:
        if name == behaviour:
            return name
    raise ValueError(f"the testbed has no behaviour {behaviour!r}: it has {' and '.join(BEHAVIOURS)}")


def _matched(rng: random.Random, rule: NaturalRule, goal: Goal) -> list[Dialogue]:
    """Make pairs of dialogues, one refused and one answered, that differ only in their tactics."""
    dialogues = []
    for turns in rng.sample(range(1, MAX_EARLIER + 1), _PAIRS_PER_GOAL):
        fillers = tuple(rng.choices(FILLERS, k=turns))
        for answered in (False, True):
            dialogues.append(Dialogue(rule.draw_tactics(rng, goal.topic, turns, answered), fillers, goal))
    return dialogues


def _varied(rng: random.Random, goal: Goal) -> list[Dialogue]:
    """Make dialogues with different numbers of earlier turns, from 0 to MAX_EARLIER."""
    return [
        Dialogue(tuple(rng.choices(TACTICS, k=turns)), tuple(rng.choices(FILLERS, k=turns)), goal)
        for turns in rng.sample(range(MAX_EARLIER + 1), _CONVERSATIONS_PER_GOAL)
    ]


def _target(dialogue: Dialogue, index: int, rule: NaturalRule, wants_refusal: bool) -> Conversation:
    goal = dialogue.goal
    refused = not rule.answers(goal.topic, dialogue.tactics)
    label: Label = "positive" if refused == wants_refusal else "negative"
    return Conversation(
        id=f"{goal.group_id}-{index}",
        group_id=goal.group_id,
        label=label,
        messages=dialogue.messages(),
        wanted=REFUSAL if wants_refusal else goal.answer,
        unwanted=goal.answer if wants_refusal else REFUSAL,
        paraphrase=goal.paraphrase,
    )


def _fixed(dialogue: Dialogue, index: int, set_name: str, wanted: str, unwanted: str) -> Conversation:
    goal = dialogue.goal
    return Conversation(
        id=f"{goal.group_id}-{index}",
        group_id=goal.group_id,
        set=set_name,
        messages=dialogue.messages(),
        wanted=wanted,
        unwanted=unwanted,
        paraphrase=dialogue.goal.paraphrase,
    )
