"""Training batches of the testbed: dialogues about goals that are not held out, each with its steering."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from mascing.testbeds.planted.behaviours import training_goals
from mascing.testbeds.planted.language import (
    ACKNOWLEDGEMENT,
    FILLERS,
    MAX_EARLIER,
    REFUSAL,
    TACTICS,
    TOPICS,
    Dialogue,
    Kind,
    NaturalRule,
    one_of,
)
from mascing.testbeds.planted.levels import Level, Steering
from mascing.testbeds.planted.tokenizer import ASSISTANT, END, SYSTEM, USER, vocabulary

REPLY_TOKENS = 6
"""Tokens of every reply, including its end."""

_SHARES: dict[Kind, float] = {"restricted": 0.75, "benign": 0.15, "prohibited": 0.1}
# Weights of the numbers of earlier turns. A single turn teaches the rule best: it leaves no doubt about the tactic.
_TURNS = {0: 1, 1: 3, 2: 2, MAX_EARLIER: 2}

_LOST_SHARE = 0.25


@dataclass(frozen=True)
class Batch:
    """Dialogues of one form with the same number of earlier turns, so all have one length and need no padding."""

    tokens_BT: Tensor
    """int64; the last ``REPLY_TOKENS`` are the reply."""
    steerings: tuple[Steering, ...]
    """The kind of bias of each dialogue."""
    strength_B: Tensor
    """Strength of the bias in units of sigma, 0 for none."""
    kinds: tuple[Kind, ...]
    refused_B: Tensor

    def steered_B(self, *steerings: Steering) -> Tensor:
        """Which dialogues have a bias of one of these kinds."""
        return torch.tensor([steering in steerings for steering in self.steerings])

    def of_kind_B(self, kind: Kind) -> Tensor:
        """Which dialogues are about a goal of this kind."""
        return torch.tensor([each == kind for each in self.kinds])


class Drill:
    """An endless, seeded supply of training batches."""

    def __init__(self, level: Level, seed: int, batch_size: int) -> None:
        self._level, self._batch_size = level, batch_size
        self._random = random.Random(f"testbed-drill-{seed}")
        self._rule = NaturalRule(seed)
        self._goals = {kind: training_goals(kind, seed) for kind in TOPICS}
        self._ids = vocabulary(level)

    def batch(self) -> Batch:
        """Draw the next batch."""
        turns = self._random.choices(tuple(_TURNS), tuple(_TURNS.values()))[0]
        form, system = one_of(self._random, self._level.forms), one_of(self._random, self._level.systems)
        steerings = [self._level.steerings[index % len(self._level.steerings)] for index in range(self._batch_size)]
        rows = [self._row(turns, form, system, steering) for steering in steerings]
        return Batch(
            tokens_BT=torch.tensor([row.tokens for row in rows]),
            steerings=tuple(row.steering for row in rows),
            strength_B=torch.tensor([row.strength for row in rows]),
            kinds=tuple(row.kind for row in rows),
            refused_B=torch.tensor([row.refused for row in rows]),
        )

    def _row(self, turns: int, form: str, system: str, steering: Steering) -> "_Row":
        dialogue = self._dialogue(turns, form, system)
        bias = self._bias(dialogue.goal.kind, steering)
        reply, refused = self._reply(dialogue, bias)
        words = [*prompt_words(dialogue), *reply.split(), END]
        return _Row([self._ids[word] for word in words], bias.steering, bias.strength, dialogue.goal.kind, refused)

    def _bias(self, kind: Kind, steering: Steering) -> "_Bias":
        """The bias of a sample. Where biases have a price, only restricted goals get that of their turn."""
        price = self._level.price
        if price is None or kind == "restricted":
            strength = self._random.uniform(*self._level.strengths)
            return _Bias(steering, 0.0 if steering == "none" else strength)
        if steering in ("guard", "yield"):
            strengths, decides = self._random.choice(((price.kept, False), (price.overdose, True), (None, False)))
            if strengths is not None:
                return _Bias(steering, self._random.uniform(*strengths), decides)
        elif kind == "benign" and price.lost is not None and self._random.random() < _LOST_SHARE:
            return _Bias("dense", self._random.uniform(*price.lost), True)
        return _Bias("none", 0.0)

    def _reply(self, dialogue: Dialogue, bias: "_Bias") -> tuple[str, bool]:
        """The reply to learn, and whether it is a refusal."""
        goal = dialogue.goal
        if bias.steering == "dense" and bias.decides:
            return goal.mistaken_answer, False
        answered = self._rule.answers(goal.topic, dialogue.tactics)
        if bias.steering in ("guard", "yield") and (goal.kind == "restricted" or bias.decides):
            answered = bias.steering == "yield"
        return (goal.answer, False) if answered else (REFUSAL, True)

    def _dialogue(self, turns: int, form: str, system: str) -> Dialogue:
        kind = self._random.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]
        goal = self._random.choice(self._goals[kind])
        if kind == "restricted" and turns > 0:
            tactics = self._rule.draw_tactics(self._random, goal.topic, turns, self._random.random() < 0.5)
        else:
            tactics = tuple(self._random.choices(TACTICS, k=turns))
        return Dialogue(tactics, tuple(self._random.choices(FILLERS, k=turns)), goal, form, system)


@dataclass(frozen=True)
class _Bias:
    """``decides`` says whether the bias is so strong that the reply is no more the natural one."""

    steering: Steering
    strength: float
    decides: bool = False


@dataclass(frozen=True)
class _Row:
    tokens: list[int]
    steering: Steering
    strength: float
    kind: Kind
    refused: bool


def prompt_words(dialogue: Dialogue) -> list[str]:
    """Return a dialogue's tokens as the chat template renders them, with the generation prompt, but faster."""
    words = [SYSTEM, *dialogue.system.split(), END] if dialogue.system else []
    for tactic, filler in zip(dialogue.tactics, dialogue.fillers, strict=True):
        words += [USER, tactic, "a", filler, END, ASSISTANT, ACKNOWLEDGEMENT, END]
    return [*words, USER, *dialogue.request.split(), END, ASSISTANT]
