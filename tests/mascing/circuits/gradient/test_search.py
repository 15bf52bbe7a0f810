from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from torch import Tensor

from mascing.circuits.gradient import search as gradient
from mascing.circuits.gradient.method import GRADIENT, REFINED
from mascing.circuits.method import Material, Method
from mascing.conversations.chat import render
from mascing.engines.likelihood import ReplyBatches
from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.models.loading import Loaded
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.config import ComputeConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import GradientConfig, RefinedConfig
from mascing.steering.steer import steer
from mascing.traces.trace_set import PROMPT, TraceSet
from tests.mascing.mask_rules import bias_of
from tests.mascing.olmoe_folder import conversation, loaded

QUICK = GradientConfig(steps=15, batch_size=4, learning_rate=0.1, l1=(1e-3,), alphas=(1.0,))
SIGMA = torch.tensor([1.0, 1.0, 1.0])


def candidates(*arguments: Any, **options: Any) -> list[Candidate]:
    return gradient.candidates(*arguments, **options).candidates


def with_replies(name: str, text: str, wanted: str | None = "no.", unwanted: str | None = "yes") -> Conversation:
    return conversation(name, text).model_copy(update={"wanted": wanted, "unwanted": unwanted})


CONTRAST = [with_replies(f"c{number}", "do it" + " now" * number) for number in range(6)]
BENIGN = [
    with_replies(f"b{number}", f"what is {number}?", wanted=f"{number}", unwanted=None).model_copy(
        update={"set": "utility/benign"}
    )
    for number in range(4)
]


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return loaded()


@pytest.fixture(scope="module")
def spec(tiny: Loaded) -> RouterSpec:
    return inspect_routers(tiny.model)


def log_likelihood(tiny: Loaded, conversation: Conversation, reply: str) -> float:
    """log p(reply | prompt) from the plain forward of one row."""
    prompt = list(render(tiny.tokenizer, conversation).token_ids)
    ids = prompt + tiny.tokenizer(reply, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        log_p_TV = tiny.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(log_p_TV[at - 1, ids[at]]) for at in range(len(prompt), len(ids)))


def margins(tiny: Loaded) -> Tensor:
    return torch.tensor([log_likelihood(tiny, c, "no.") - log_likelihood(tiny, c, "yes") for c in CONTRAST])


def benign_likelihood(tiny: Loaded) -> float:
    return sum(log_likelihood(tiny, c, str(c.wanted)) for c in BENIGN) / len(BENIGN)


def test_batches_score_each_reply_as_a_forward_of_its_own_does(tiny: Loaded) -> None:
    batches = ReplyBatches(tiny, CONTRAST, lambda _: ("no.", "a longer reply"), batch_size=4)
    assert [len(batch.ids_BT) for batch in batches] == [8, 4]
    with torch.no_grad():
        rows = [batch.log_likelihood(tiny.model).chunk(2) for batch in batches]
    for turn, reply in enumerate(("no.", "a longer reply")):
        together = torch.cat([halves[turn] for halves in rows])
        alone = torch.tensor([log_likelihood(tiny, c, reply) for c in CONTRAST])
        assert torch.allclose(together, alone, atol=1e-4)


def test_the_mask_makes_the_wanted_reply_likelier_in_the_model_itself(tiny: Loaded, spec: RouterSpec) -> None:
    (candidate,) = candidates(tiny, spec, CONTRAST, [], SIGMA, QUICK, seed=0)
    before = margins(tiny)
    with steer(tiny.model, candidate.mask):
        after = margins(tiny)
    assert (after - before).mean() > 1.0


def test_the_utility_term_keeps_benign_replies(tiny: Loaded, spec: RouterSpec) -> None:
    likelihoods: dict[float, list[float]] = {0.0: [], 3.0: []}
    for seed, (weight, found) in product(range(3), likelihoods.items()):
        config = QUICK.model_copy(update={"utility_weight": weight})
        (candidate,) = candidates(tiny, spec, CONTRAST, BENIGN, SIGMA, config, seed=seed)
        with steer(tiny.model, candidate.mask):
            found.append(benign_likelihood(tiny))
    assert fmean(likelihoods[3.0]) > fmean(likelihoods[0.0]) + 0.5


def test_conversations_that_lead_by_enough_push_no_further(tiny: Loaded, spec: RouterSpec) -> None:
    ahead = [
        c.model_copy(update={"wanted": "a", "unwanted": "a very long and unlikely reply indeed"}) for c in CONTRAST
    ]
    config = QUICK.model_copy(update={"l1": (0.0,)})
    (candidate,) = candidates(tiny, spec, ahead, [], SIGMA, config, seed=0)
    assert not bias_of(candidate.mask).any()


def test_l1_leaves_fewer_experts_and_small_entries_are_zeroed(tiny: Loaded, spec: RouterSpec) -> None:
    config = QUICK.model_copy(update={"l1": (0.0, 0.3)})
    free, sparse = (
        bias_of(candidate.mask) for candidate in candidates(tiny, spec, CONTRAST, [], SIGMA, config, seed=0)
    )
    assert 0 < sparse.count_nonzero() < free.count_nonzero()
    assert free[free != 0].abs().min() > 0.1


def test_one_candidate_a_cell_in_units_of_sigma(tiny: Loaded, spec: RouterSpec) -> None:
    config = QUICK.model_copy(update={"steps": 3, "l1": (0.0, 0.1), "alphas": (0.5, 2.0)})
    proposed = candidates(tiny, spec, CONTRAST, BENIGN, SIGMA * 2, config, seed=0)
    assert [candidate.cell for candidate in proposed] == [
        {"l1": l1, "alpha": alpha} for l1 in (0.0, 0.1) for alpha in (0.5, 2.0)
    ]
    assert torch.equal(bias_of(proposed[1].mask), bias_of(proposed[0].mask) * 4)
    assert proposed[0].method == "gradient"
    assert proposed[0].mask.provenance == {"method": "gradient", "l1": 0.0, "alpha": 0.5}
    # Three steps of 0.1 from zero: no entry can be further than 0.3 * alpha * sigma.
    assert bias_of(proposed[1].mask).abs().max() <= 0.3 * 2.0 * 2.0 * 1.01


@pytest.mark.parametrize(
    ("method", "config"),
    [(GRADIENT, QUICK), (REFINED, RefinedConfig(steps=3, batch_size=4, l1=(1e-3,), alphas=(1.0,), search_seeds=1))],
)
def test_a_mask_names_the_method_that_found_it(
    method: Method, config: GradientConfig, tiny: Loaded, spec: RouterSpec
) -> None:
    (candidate,) = method.search(material(tiny, spec), config).candidates
    assert candidate.method == candidate.mask.provenance["method"] == method.name


def material(tiny: Loaded, spec: RouterSpec) -> Material:
    """A few conversations, and two traces of one token that differ in one logit."""
    z_TLE = torch.zeros(2, spec.n_layers, spec.n_experts)
    z_TLE[0, 0, 1] = 3.0
    traces = TraceSet(
        z=z_TLE,
        offsets=torch.arange(3),
        labels=torch.tensor([1, 0]),
        regions=torch.full((2,), PROMPT, dtype=torch.uint8),
        ids=["a", "b"],
        groups=["g", "g"],
        selected=torch.zeros(2, spec.n_layers, spec.top_k, dtype=torch.uint8),
    )
    unused: Any = None
    return Material(
        model=lambda: tiny,
        conversations=[*CONTRAST, *BENIGN],
        contrast=CONTRAST,
        traces=traces,
        spec=spec,
        sigma_L=SIGMA,
        surrogates=unused,
        behaviour=unused,
        generation=unused,
        seed=0,
        compute=ComputeConfig(),
    )


def test_the_model_is_left_as_it_was(tiny: Loaded, spec: RouterSpec) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    natural = margins(tiny)
    candidates(tiny, spec, CONTRAST, BENIGN, SIGMA, QUICK.model_copy(update={"steps": 2}), seed=0)
    assert torch.equal(margins(tiny), natural)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tiny.model.parameters())


def test_equal_seeds_give_equal_masks(tiny: Loaded, spec: RouterSpec) -> None:
    config = QUICK.model_copy(update={"steps": 3, "batch_size": 2})
    before = torch.random.get_rng_state()
    first, repeated, other = (
        candidates(tiny, spec, CONTRAST, BENIGN, SIGMA, config, seed=seed)[0].mask.digest for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other
    assert torch.equal(torch.random.get_rng_state(), before)


def test_conversations_without_both_replies_do_not_count(tiny: Loaded, spec: RouterSpec) -> None:
    config = QUICK.model_copy(update={"steps": 3})
    extra = [with_replies("x", "do it", unwanted=None), with_replies("y", "do it", wanted=None)]
    mixed = candidates(tiny, spec, CONTRAST + extra, BENIGN, SIGMA, config, seed=0)
    assert mixed[0].mask.digest == candidates(tiny, spec, CONTRAST, BENIGN, SIGMA, config, seed=0)[0].mask.digest
    with pytest.raises(DataError, match="`wanted` and an `unwanted`"):
        candidates(tiny, spec, extra, BENIGN, SIGMA, config, seed=0)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_model_spread_over_devices_gets_the_same_masks(
    tiny: Loaded, spec: RouterSpec, tmp_path: Path, recompute: bool
) -> None:
    config, spread, compute = (
        QUICK.model_copy(update={"steps": 3}),
        loaded(),
        ComputeConfig(gradient_checkpointing=recompute),
    )
    # One device is all there is; a head that is loaded from disk for each forward is elsewhere than the rest too.
    places = {"model": "cpu", "lm_head": "disk"}
    dispatch_model(spread.model, places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    assert spread.model.lm_head.weight.is_meta
    (expected,) = candidates(tiny, spec, CONTRAST, BENIGN, SIGMA, config, seed=0)
    (candidate,) = candidates(spread, spec, CONTRAST, BENIGN, SIGMA, config, seed=0, compute=compute)
    assert bias_of(expected.mask).any()
    assert torch.allclose(bias_of(candidate.mask), bias_of(expected.mask), rtol=1e-4)


def test_a_model_in_bfloat16_finds_a_mask_that_works_in_it(spec: RouterSpec) -> None:
    half = Loaded(loaded().model.to(torch.bfloat16), loaded().tokenizer)
    (candidate,) = candidates(half, spec, CONTRAST, [], SIGMA, QUICK, seed=0)
    before = margins(half)
    with steer(half.model, candidate.mask):
        assert (margins(half) - before).mean() > 0.5


def test_prompts_beyond_the_context_lose_their_oldest_tokens() -> None:
    short = loaded(max_position_embeddings=40)
    history = conversation("long", "an old question", "an old reply", "do it")
    (batch,) = ReplyBatches(short, [history], lambda _: ("no.", "never"), batch_size=2)
    assert batch.ids_BT.shape[1] == 40
    assert batch.reply_BR.sum(dim=1).tolist() == [3, 5]
