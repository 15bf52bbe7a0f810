"""Trials: each conversation of a batch under its own mask, with the routing that its reply followed."""

import pytest
import torch

from mascing.circuits.active.trials import LocalEngine, Trial
from mascing.engines.generation import generate, prompts_of
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import BehaviourConfig, GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ContainsJudge
from mascing.steering.steer import steer
from mascing.traces.batch_recording import record_prompts
from tests.mascing import olmoe_folder

GENERATION = GenerationConfig(max_new_tokens=4, batch_size=3)
CONVERSATIONS = [olmoe_folder.conversation(f"c{i}", "word " * (1 + 3 * i % 5) + str(i)) for i in range(5)]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return olmoe_folder.loaded()


@pytest.fixture(scope="module")
def masks(loaded: Loaded) -> list[Mask]:
    spec, generator = inspect_routers(loaded.model), torch.Generator().manual_seed(0)
    return [Mask.from_bias(3 * torch.randn(3, 8, generator=generator), spec) for _ in CONVERSATIONS]


def behaviour_of(wanted: list[str]) -> tuple[BehaviourConfig, list[Conversation]]:
    """A behaviour whose judge looks for ``wanted``, and the conversations that want it."""
    contains = ContainsJudge()
    behaviour = BehaviourConfig(name="tried", conversations="-", target=contains, utility=contains, protected=contains)
    pairs = zip(CONVERSATIONS, wanted, strict=True)
    return behaviour, [conversation.model_copy(update={"wanted": reply}) for conversation, reply in pairs]


def alone(loaded: Loaded, masks: list[Mask]) -> list[str]:
    pairs = zip(CONVERSATIONS, masks, strict=True)
    return [generate(loaded, [conversation], mask, GENERATION)[0].text for conversation, mask in pairs]


def tried(loaded: Loaded, masks: list[Mask], wanted: list[str]) -> list[Trial]:
    behaviour, conversations = behaviour_of(wanted)
    trials = LocalEngine(loaded, behaviour, GENERATION)(list(zip(conversations, masks, strict=True)))
    return [trial for _, trial in sorted(trials, key=lambda numbered: numbered[0])]


def test_each_reply_is_that_of_its_own_mask(loaded: Loaded, masks: list[Mask]) -> None:
    replies = alone(loaded, masks)
    assert [trial.outcome for trial in tried(loaded, masks, replies)] == ["hit"] * len(masks)
    shifted = tried(loaded, [*masks[1:], masks[0]], replies)
    assert {trial.outcome for trial in shifted} != {"hit"}, "other masks must give other replies, or this shows nothing"


def test_the_trace_is_what_the_routers_gave_under_the_mask_before_it_was_added(
    loaded: Loaded, masks: list[Mask]
) -> None:
    trials = tried(loaded, masks, ["-"] * len(masks))
    for conversation, trial, mask in zip(CONVERSATIONS, trials, masks, strict=True):
        [prompt] = prompts_of(loaded, [conversation], GENERATION)
        [(unsteered, _)] = record_prompts(loaded.model, [prompt], 4096)
        with steer(loaded.model, mask):
            [(expected, _)] = record_prompts(loaded.model, [prompt], 4096)
        torch.testing.assert_close(trial.z_TLE, expected, atol=5e-3, rtol=5e-3)
        assert (trial.z_TLE - unsteered).abs().max() > 0.05, "the mask must move the deeper layers' logits"
