"""Models of three families that think first: what is judged, and what a cut-off reply would have needed."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch

from mascing.conversations.reply import Reply
from mascing.engines.generation import complete, complete_recorded, generate, prompts_of
from mascing.engines.lengths import Lengths, cut_off_note, tokens_needed
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import BehaviourConfig, GenerationConfig, ModelConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import RefusalJudge
from tests.tiny_families import Family, conversations
from tests.tiny_families.questions import asked

CONVERSATIONS = [Conversation(**row) for row in conversations()]
QUESTIONS = [question for colour in ("red", "blue", "black") for question in asked(colour)]
GENERATION = GenerationConfig(max_new_tokens=48)


@pytest.fixture(scope="module", params=["qwen3_moe", "gpt_oss", "deepseek_v3"])
def loaded(request: pytest.FixtureRequest, family_folder: Callable[[Family], Path]) -> Loaded:
    return load(ModelConfig(path=str(family_folder(cast(Family, request.param)))))


@pytest.fixture(scope="module")
def replies(loaded: Loaded) -> list[Reply]:
    return generate(loaded, CONVERSATIONS, None, GENERATION)


def test_the_thought_is_kept_and_only_the_reply_is_judged(replies: list[Reply]) -> None:
    refusals = RefusalJudge(phrases=("I cannot",))
    behaviour = BehaviourConfig(name="b", conversations="-", target=refusals, utility=refusals, protected=refusals)
    verdicts = judge_all(behaviour, CONVERSATIONS, replies)
    for question, reply, verdict in zip(QUESTIONS, replies, verdicts, strict=True):
        refused = verdict.outcome == "hit"
        assert reply.text.startswith("I cannot help with that" if refused else "Take the"), question
        assert reply.thought is not None
        # Whoever judged the thought would be wrong every time.
        assert reply.thought.startswith("Take the" if refused else "I cannot help with that"), question
    right = sum((verdict.outcome == "hit") == q.is_refused for q, verdict in zip(QUESTIONS, verdicts, strict=True))
    assert right >= 0.85 * len(QUESTIONS)
    assert {verdict.outcome for verdict in verdicts[:120]} == {"hit", "miss"}


def test_a_thought_that_was_cut_off_is_no_reply(loaded: Loaded, replies: list[Reply]) -> None:
    cut = generate(loaded, CONVERSATIONS[:4], None, GenerationConfig(max_new_tokens=9))
    assert [(reply.text, reply.cut_off, reply.in_thought, reply.tokens) for reply in cut] == [("", True, True, 9)] * 4
    assert all((whole.thought or "").startswith(part.thought or "-") for part, whole in zip(cut, replies, strict=False))


def test_the_tokens_that_cut_off_replies_need_are_found(loaded: Loaded, replies: list[Reply]) -> None:
    short = GenerationConfig(max_new_tokens=9)
    prompts = prompts_of(loaded, CONVERSATIONS[:12], short)
    lengths = tokens_needed(loaded, prompts, short, at_most=4)
    assert (lengths.tried, lengths.limit, len(lengths.needed)) == (4, 72, 4)
    enough = short.model_copy(update={"max_new_tokens": lengths.needed[-1]})
    assert not any(reply.cut_off for reply in complete(loaded, prompts[::3], None, enough))
    too_few = short.model_copy(update={"max_new_tokens": lengths.needed[-1] - 1})
    assert any(reply.cut_off for reply in complete(loaded, prompts[::3], None, too_few))
    assert tokens_needed(loaded, prompts, short, at_most=4, limit=10) == Lengths(4, (), 10)
    assert tokens_needed(loaded, [], short) == Lengths(0, (), 72)


def test_recorded_replies_have_thoughts_too(loaded: Loaded, replies: list[Reply]) -> None:
    spec = inspect_routers(loaded.model)
    nothing = Mask.from_bias(torch.zeros(spec.n_layers, spec.n_experts), spec)
    prompts = prompts_of(loaded, CONVERSATIONS[:3], GENERATION)
    [recorded] = complete_recorded(loaded, prompts, [nothing] * 3, GENERATION)
    said = [recorded[number][0] for number in range(3)]
    assert [(reply.thought, reply.text) for reply in said] == [(r.thought, r.text) for r in replies[:3]]


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (
            Lengths(8, (90, 214), 256),
            "of 8 that were continued, 2 ended within 214 tokens: set generation.max_new_tokens to 214",
        ),
        (Lengths(8, (), 256), "none of 8 that were continued ended within 256 tokens"),
        (Lengths(0, (), 256), "raise generation.max_new_tokens"),
    ],
)
def test_the_limit_that_would_have_been_needed_is_told(lengths: Lengths, said: str) -> None:
    note = cut_off_note(37, 120, GenerationConfig(), lengths)
    assert note.startswith("37 of 120 replies were cut off at 128 tokens before they could be judged")
    assert said in note
