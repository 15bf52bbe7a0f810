"""The trained testbed holds what every method is measured against: its circuit decides, and nothing else is touched."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mascing.conversations.reply import Reply
from mascing.conversations.splits import split_of
from mascing.engines.generation import generate
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GenerationConfig, ModelConfig, SplitConfig
from mascing.schemas.conversation import Conversation
from mascing.testbeds.planted import BEHAVIOURS, behaviour_config, conversations
from mascing.traces.batch_recording import harvest

# The first test to ask for the testbed waits for its training.
pytestmark = pytest.mark.timeout(900)

DEFENCE, POLICY = BEHAVIOURS
SEED = 0
Rates = Callable[[str, Tensor | None], dict[str, float]]


def split(behaviour: str, name: str) -> list[Conversation]:
    return [row for row in conversations(behaviour, SEED) if split_of(row.group_id, SplitConfig()) == name]


@pytest.fixture(scope="module")
def loaded(testbed_folder: Path) -> Loaded:
    return load(ModelConfig(path=str(testbed_folder)))


@pytest.fixture(scope="module")
def truth(testbed_folder: Path) -> Tensor:
    bias_LE: Tensor = load_file(testbed_folder / f"truth-{DEFENCE}.safetensors")["bias"]
    return bias_LE


@pytest.fixture(scope="module")
def sigma(loaded: Loaded) -> Tensor:
    """Standard deviation of the router logits of each layer, as the harvest stage measures it."""
    rows = [row for row in split(DEFENCE, "train") if row.set == "target"]
    z_TLE = torch.cat([trace.z for trace in harvest(loaded, rows, batch_tokens=4096)]).float()
    return z_TLE.transpose(0, 1).flatten(1).std(1)


@pytest.fixture(scope="module")
def rates(loaded: Loaded, testbed_folder: Path, sigma: Tensor) -> Rates:
    """Rates of hits on the test split by set, under a mask in units of sigma."""

    @cache
    def replies(entries: tuple[float, ...]) -> list[Reply]:
        spec = inspect_routers(loaded.model)
        bias_LE = torch.tensor(entries).view(spec.n_layers, spec.n_experts) * sigma[:, None]
        mask = Mask.from_bias(bias_LE, spec) if bias_LE.any() else None
        return generate(loaded, split(DEFENCE, "test"), mask, GenerationConfig(max_new_tokens=12, batch_size=128))

    def measure(behaviour: str, steering_LE: Tensor | None) -> dict[str, float]:
        rows = split(behaviour, "test")
        entries = torch.zeros(4, 16) if steering_LE is None else steering_LE
        answers = replies(tuple(entries.flatten().tolist()))
        hits: dict[str, list[bool]] = {}
        for row, verdict in zip(rows, judge_all(behaviour_config(behaviour, "-"), rows, answers), strict=True):
            hits.setdefault(row.set, []).append(verdict.outcome == "hit")
        return {name: sum(values) / len(values) for name, values in hits.items()}

    return measure


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_by_itself_the_model_shows_each_behaviour_in_half_of_the_cases(rates: Rates, behaviour: str) -> None:
    natural = rates(behaviour, None)
    assert 0.4 <= natural["target"] <= 0.6
    assert natural["utility/benign"] >= 0.98
    assert natural["protected/prohibited"] >= 0.98


@pytest.mark.parametrize(("behaviour", "sign"), [(DEFENCE, 1), (POLICY, -1)])
def test_the_planted_circuit_as_mask_gives_the_behaviour_at_full_utility(
    rates: Rates, truth: Tensor, behaviour: str, sign: int
) -> None:
    steered = rates(behaviour, sign * truth)
    assert steered["target"] >= 0.95
    assert steered["utility/benign"] >= 0.98
    assert steered["protected/prohibited"] >= 0.98


@pytest.mark.parametrize("seed", range(3))
def test_a_random_mask_of_the_same_entries_does_not_help(rates: Rates, truth: Tensor, seed: int) -> None:
    order = torch.randperm(truth.numel(), generator=torch.Generator().manual_seed(seed))
    shuffled_LE = truth.flatten()[order].view_as(truth)
    for behaviour in BEHAVIOURS:
        assert rates(behaviour, shuffled_LE)["target"] <= rates(behaviour, None)["target"] + 0.1


def test_natural_routing_follows_the_circuit(loaded: Loaded, truth: Tensor) -> None:
    rows = [row for row in split(DEFENCE, "dev") if row.set == "target"]
    traces = harvest(loaded, rows, batch_tokens=4096)
    lean = {
        label: torch.stack([(trace.z[-1].float() * truth).sum() for trace in traces if trace.label == label])
        for label in (0, 1)
    }
    assert lean[1].mean() > lean[0].mean() + 2 * max(lean[0].std(), lean[1].std())
