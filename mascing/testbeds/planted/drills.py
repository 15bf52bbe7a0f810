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
)
from mascing.testbeds.planted.tokenizer import ASSISTANT, END, USER, vocabulary

REPLY_TOKENS = 6
"""Tokens of every reply, including its end."""

_SHARES: dict[Kind, float] = {"restricted": 0.75, "benign": 0.15, "prohibited": 0.1}
# Weights of the numbers of earlier turns. A single turn teaches the rule best: it leaves no doubt about the tactic.
_TURNS = {0: 1, 1: 3, 2: 2, MAX_EARLIER: 2}
# A quarter of the samples has a bias towards guard, a quarter towards yield. Most of the rest has a random bias that
# must change nothing, so that only the circuit's mask decides.
_STEERINGS = ("guard", "yield", "shuffled", "dense", "guard", "yield", "shuffled", "none")
_STRENGTH = (0.75, 2.0)


@dataclass(frozen=True)
class Batch:
    """Dialogues with the same number of earlier turns, so all have the same length and need no padding."""

    tokens_BT: Tensor
    """int64; the last ``REPLY_TOKENS`` are the reply."""
    planted_B: Tensor
    """Strength of the bias in units of sigma: positive towards guard, negative towards yield, 0 for neither."""
    shuffled_B: Tensor
    """Strength of a bias with the circuit's entries in random places; 0 for none."""
    dense_B: Tensor
    """Strength of a bias with random entries everywhere; 0 for none."""
    restricted_B: Tensor
    refused_B: Tensor


class Drill:
    """An endless, seeded supply of training batches."""

    def __init__(self, seed: int, batch_size: int) -> None:
        self._random = random.Random(f"testbed-drill-{seed}")
        self._rule = NaturalRule(seed)
        self._goals = {kind: training_goals(kind, seed) for kind in TOPICS}
        self._batch_size = batch_size
        self._ids = vocabulary()

    def batch(self) -> Batch:
        """Draw the next batch."""
        turns = self._random.choices(tuple(_TURNS), tuple(_TURNS.values()))[0]
        rows = [self._row(turns, _STEERINGS[index % len(_STEERINGS)]) for index in range(self._batch_size)]
        return Batch(
            tokens_BT=torch.tensor([row[0] for row in rows]),
            planted_B=torch.tensor([row[1] for row in rows]),
            shuffled_B=torch.tensor([row[2] for row in rows]),
            dense_B=torch.tensor([row[3] for row in rows]),
            restricted_B=torch.tensor([row[4] for row in rows]),
            refused_B=torch.tensor([row[5] for row in rows]),
        )

    def _row(self, turns: int, steering: str) -> tuple[list[int], float, float, float, bool, bool]:
        dialogue = self._dialogue(turns)
        goal, strength = dialogue.goal, self._random.uniform(*_STRENGTH)
        answered = self._rule.answers(goal.topic, dialogue.tactics)
        if goal.kind == "restricted" and steering in ("guard", "yield"):
            answered = steering == "yield"
        reply = goal.answer if answered else REFUSAL
        words = [*prompt_words(dialogue), *reply.split(), END]
        planted = {"guard": strength, "yield": -strength}.get(steering, 0.0)
        shuffled, dense = (strength if steering == name else 0.0 for name in ("shuffled", "dense"))
        return [self._ids[word] for word in words], planted, shuffled, dense, goal.kind == "restricted", not answered

    def _dialogue(self, turns: int) -> Dialogue:
        kind = self._random.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]
        goal = self._random.choice(self._goals[kind])
        if kind == "restricted" and turns > 0:
            tactics = self._rule.draw_tactics(self._random, goal.topic, turns, self._random.random() < 0.5)
        else:
            tactics = tuple(self._random.choices(TACTICS, k=turns))
        return Dialogue(tactics, tuple(self._random.choices(FILLERS, k=turns)), goal)


def prompt_words(dialogue: Dialogue) -> list[str]:
    """Return a dialogue's tokens as the chat template renders them, with the generation prompt, but faster."""
    words = []
    for tactic, filler in zip(dialogue.tactics, dialogue.fillers, strict=True):
        words += [USER, tactic, "a", filler, END, ASSISTANT, ACKNOWLEDGEMENT, END]
    return [*words, USER, *dialogue.goal.request.split(), END, ASSISTANT]
