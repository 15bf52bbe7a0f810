"""Training batches: the same tokens as the chat template gives, and the reply that fits the steering."""

import random
from typing import Any

import pytest
import torch

from mascing.testbeds.planted.drills import REPLY_TOKENS, Drill, prompt_words
from mascing.testbeds.planted.language import FILLERS, MAX_EARLIER, REFUSAL, TACTICS, Dialogue, goals
from mascing.testbeds.planted.levels import LEVELS
from mascing.testbeds.planted.tokenizer import END, build_tokenizer, vocabulary


def test_training_tokens_are_those_of_the_chat_template() -> None:
    level = LEVELS[3]
    tokenizer: Any = build_tokenizer(level, 256)
    rng = random.Random(0)
    for turns, form, system in zip(range(MAX_EARLIER + 1), level.forms, level.systems, strict=True):
        dialogue = Dialogue(
            tuple(rng.choices(TACTICS, k=turns)),
            tuple(rng.choices(FILLERS, k=turns)),
            goals("benign", 0)[turns],
            form,
            system,
        )
        messages = [message.model_dump() for message in dialogue.messages()]
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert tokenizer.convert_tokens_to_ids(prompt_words(dialogue)) == rendered


@pytest.mark.parametrize("number", LEVELS)
def test_replies_fit_the_steering_and_the_topic(number: int) -> None:
    level = LEVELS[number]
    refusal = torch.tensor([vocabulary(level)[word] for word in (*REFUSAL.split(), END)])
    drill = Drill(level, seed=0, batch_size=64)
    steered = 0
    for _ in range(8):
        batch = drill.batch()
        refused_B = (batch.tokens_BT[:, -REPLY_TOKENS:] == refusal).all(1)
        assert torch.equal(refused_B, batch.refused_B)
        restricted_B = batch.of_kind_B("restricted")
        guard_B, yield_B = (restricted_B & batch.steered_B(side) for side in ("guard", "yield"))
        assert refused_B[guard_B].all()
        assert not refused_B[yield_B].any()
        steered += int(guard_B.sum() + yield_B.sum())
        assert torch.equal(batch.strength_B == 0, batch.steered_B("none"))
    assert steered > 100


def test_a_seed_gives_the_same_batches() -> None:
    first, second, other = (Drill(LEVELS[2], seed, batch_size=8).batch() for seed in (0, 0, 1))
    assert torch.equal(first.tokens_BT, second.tokens_BT)
    assert torch.equal(first.strength_B, second.strength_B)
    assert first.tokens_BT.shape != other.tokens_BT.shape or not torch.equal(first.tokens_BT, other.tokens_BT)
