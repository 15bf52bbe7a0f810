"""The testbed's two behaviours: their conversations, and the judges of their replies."""

import random
from dataclasses import dataclass
from typing import Literal

from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation, Label
from mascing.schemas.settings.judge_settings import ExactJudge, JudgeConfig, PluggedJudge, RefusalJudge
from mascing.testbeds.planted.language import (
    ACKNOWLEDGEMENT,
    FILLERS,
    MAX_EARLIER,
    REFUSAL,
    TACTICS,
    Dialogue,
    Goal,
    Kind,
    NaturalRule,
    goals,
    one_of,
)
from mascing.testbeds.planted.levels import LEVELS, Level

Behaviour = Literal["jailbreak-defence", "content-policy"]
BEHAVIOURS: tuple[Behaviour, ...] = ("jailbreak-defence", "content-policy")

# Goals reserved for the behaviours' conversations; the model is trained only on the other goals.
_HELD_OUT: dict[Kind, int] = {"restricted": 250, "benign": 250, "prohibited": 125}
_MISTAKEN = "mascing.testbeds.planted.mistaken_judge:mistaken"
_PAIRS_PER_GOAL = 2
_CONVERSATIONS_PER_GOAL = 3


@dataclass(frozen=True)
class Judges:
    """The judge of each kind of set, with the field names of ``BehaviourConfig``."""

    target: JudgeConfig
    utility: JudgeConfig
    protected: JudgeConfig


def judges(behaviour: str, level: int = 1) -> Judges:
    """Return the judges of a behaviour, by refusal or by exact answer; the target's may err.

    Raises ``ValueError`` for a behaviour that the testbed does not have.
    """
    phrases = (REFUSAL.split()[0],)
    refusal, exact = RefusalJudge(phrases=phrases), ExactJudge()
    target: JudgeConfig = refusal if _known(behaviour) == "jailbreak-defence" else exact
    if errors := LEVELS[level].judge_errors:
        target = PluggedJudge.model_validate(
            {**target.model_dump(), "kind": _MISTAKEN, "of": target.kind, "errors": errors}
        )
    return Judges(target=target, utility=exact, protected=refusal)


def behaviour_config(behaviour: str, folder: str, level: int = 1) -> BehaviourConfig:
    """Return the behaviour config of a run on a testbed built into ``folder``, a path or a storage URL."""
    set_judges = judges(behaviour, level)
    return BehaviourConfig(
        name=behaviour,
        conversations=f"{folder}/conversations-{behaviour}.jsonl",
        truth=f"{folder}/truth-{behaviour}.safetensors",
        target=set_judges.target,
        utility=set_judges.utility,
        protected=set_judges.protected,
    )


def conversations(behaviour: str, seed: int, level: int = 1) -> list[Conversation]:
    """Return the conversations of a behaviour: sets ``target``, ``utility/benign`` and ``protected/prohibited``.

    Target conversations come in pairs about one goal that differ only in their tactics: the natural rule refuses one
    and answers the other. ``content-policy`` has the conversations of ``jailbreak-defence`` with opposite wanted
    replies and labels. Raises ``ValueError`` for a behaviour that the testbed does not have.
    """
    wants_refusal = _known(behaviour) == "jailbreak-defence"
    rng = random.Random(f"testbed-conversations-{seed}")
    rule, language = NaturalRule(seed), LEVELS[level]
    target = [
        _target(dialogue, index, rule, wants_refusal, language)
        for goal in held_out_goals("restricted", seed)
        for index, dialogue in enumerate(_matched(rng, rule, goal, language))
    ]
    benign = [
        _fixed(dialogue, index, "utility/benign", dialogue.goal.answer, REFUSAL, language)
        for goal in held_out_goals("benign", seed)
        for index, dialogue in enumerate(_varied(rng, goal, language))
    ]
    prohibited = [
        _fixed(dialogue, index, "protected/prohibited", REFUSAL, dialogue.goal.answer, language)
        for goal in held_out_goals("prohibited", seed)
        for index, dialogue in enumerate(_varied(rng, goal, language))
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


def _matched(rng: random.Random, rule: NaturalRule, goal: Goal, level: Level) -> list[Dialogue]:
    """Make pairs of dialogues, one refused and one answered, that differ only in their tactics."""
    dialogues = []
    for turns in rng.sample(range(1, MAX_EARLIER + 1), _PAIRS_PER_GOAL):
        fillers = tuple(rng.choices(FILLERS, k=turns))
        form, system = one_of(rng, level.forms), one_of(rng, level.systems)
        for answered in (False, True):
            tactics = rule.draw_tactics(rng, goal.topic, turns, answered)
            dialogues.append(Dialogue(tactics, fillers, goal, form, system))
    return dialogues


def _varied(rng: random.Random, goal: Goal, level: Level) -> list[Dialogue]:
    """Make dialogues with different numbers of earlier turns, from 0 to MAX_EARLIER."""
    return [
        Dialogue(
            tuple(rng.choices(TACTICS, k=turns)),
            tuple(rng.choices(FILLERS, k=turns)),
            goal,
            one_of(rng, level.forms),
            one_of(rng, level.systems),
        )
        for turns in rng.sample(range(MAX_EARLIER + 1), _CONVERSATIONS_PER_GOAL)
    ]


def _target(dialogue: Dialogue, index: int, rule: NaturalRule, wants_refusal: bool, level: Level) -> Conversation:
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
        paraphrase=_paraphrase(dialogue, level),
    )


def _fixed(dialogue: Dialogue, index: int, set_name: str, wanted: str, unwanted: str, level: Level) -> Conversation:
    goal = dialogue.goal
    return Conversation(
        id=f"{goal.group_id}-{index}",
        group_id=goal.group_id,
        set=set_name,
        messages=dialogue.messages(),
        wanted=wanted,
        unwanted=unwanted,
        paraphrase=_paraphrase(dialogue, level),
    )


def _paraphrase(dialogue: Dialogue, level: Level) -> str:
    """The request in the level's next form; with a single form, begun by a word that begins no training request."""
    if len(level.forms) == 1:
        return f"{ACKNOWLEDGEMENT} {dialogue.request}"
    return dialogue.goal.put_as(level.forms[(level.forms.index(dialogue.form) + 1) % len(level.forms)])
