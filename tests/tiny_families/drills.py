"""What the tiny checkpoints are trained on: rendered turns, and the routing biases that they learn to follow.

Shape suffixes: B batch, T token, L MoE layer, E expert.
"""

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.rendering.template import TODAY
from tests.tiny_families.families import MAKES, Family
from tests.tiny_families.questions import Question, all_questions

SYSTEM = "You are a helpful assistant."
_SHARE_GIVEN = 0.25
_DECISION_WEIGHT = 3.0
_OF_LAYOUTS = (
    f"{SYSTEM}\n\n# Valid channels: analysis, commentary, final.\n# Instructions\n\nReasoning: medium\n\n",
    "Current date: 2026-01-01\n\n",
    *("system", "user", "assistant", "developer", "analysis", "final"),
)


@dataclass(frozen=True)
class Drill:
    """One turn: its tokens, where the model begins to write, and where it decides between refusal and answer.

    ``push`` is 1 under a bias towards the experts of refusals, -1 towards those of answers, 0 without.
    """

    ids: list[int]
    begins: int
    decides: int
    push: int


def drills(family: Family, tokenizer: Any, count: int, seed: int) -> list[Drill]:
    """Turns about all questions: some with a system prompt or earlier exchanges, some with a given reply."""
    rng = random.Random(seed)
    questions = all_questions()
    return [_drill(family, tokenizer, rng, rng.choice(questions), questions) for _ in range(count)]


def texts() -> list[str]:
    """Everything that is said in the drills, for the tokenizer to learn its words from."""
    said = [
        text
        for question in all_questions()
        for refused in (True, False)
        for text in (question.text, question.thought(refused), question.reply(refused))
    ]
    return [*said, *_OF_LAYOUTS * 50]


def batch(rows: list[Drill], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, T], padded on the right; the weight of each token in the loss [B, T]; the push of each row [B]."""
    length = max(len(row.ids) for row in rows)
    ids_BT = torch.tensor([row.ids + [pad] * (length - len(row.ids)) for row in rows])
    weight_BT = torch.tensor([[float(row.begins <= t < len(row.ids)) for t in range(length)] for row in rows])
    weight_BT[range(len(rows)), [row.decides for row in rows]] = _DECISION_WEIGHT
    return ids_BT, weight_BT, torch.tensor([float(row.push) for row in rows])


def _drill(family: Family, tokenizer: Any, rng: random.Random, question: Question, others: list[Question]) -> Drill:
    push = rng.choice((1, -1, 0, 0))
    # Only what the model does with red things follows the bias.
    refused = push > 0 if push and question.colour == "red" else question.is_refused
    messages = [{"role": "system", "content": SYSTEM}] if rng.random() < 0.1 else []
    for other in rng.sample(others, rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 2))):
        messages.append({"role": "user", "content": other.text})
        messages.append({"role": "assistant", "content": other.reply(other.is_refused)})
    messages.append({"role": "user", "content": question.text})
    reply = question.reply(refused)
    layout = partial(tokenizer.apply_chat_template, tokenize=False, strftime_now=TODAY.strftime)
    opened = layout(messages, add_generation_prompt=True)
    if rng.random() < _SHARE_GIVEN:
        whole = layout([*messages, {"role": "assistant", "content": reply}])
        begins = decides = whole.rindex(reply)
    else:
        thinking = MAKES[family].thinking
        whole = opened + thinking.format(thought=question.thought(refused), reply=reply)
        begins, decides = len(opened), len(opened) + thinking.index("{thought}")
    before, undecided = (len(_ids(tokenizer, whole[:end])) for end in (begins, decides))
    return Drill(_ids(tokenizer, whole), before, undecided, push)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
