"""The search by trials: it finds what acts, spares what other replies need, and spends no more than its budget."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mascing.circuits.active import search as active
from mascing.circuits.active.method import ACTIVE
from mascing.circuits.active.trials import LocalEngine, Trial
from mascing.circuits.method import Asked, Material, Proposal
from mascing.engines.generation import generate
from mascing.errors import DataError
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.cards.search_cost import Trials
from mascing.schemas.config import BehaviourConfig, ComputeConfig, GenerationConfig, ModelConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.method_settings import ActiveConfig
from mascing.testbeds.planted import behaviour_config
from mascing.traces.batch_recording import harvest
from mascing.traces.shards import decode, encode
from mascing.traces.trace_set import SampleTrace, TraceSet
from tests.mascing.conversations.lines import decode_lines, parse_conversations
from tests.mascing.made_traces import raw_top_k
from tests.mascing.mask_rules import bias_of

SPEC = RouterSpec("made-up", (0, 1), 8, 2, "softmax")
SIGMA = torch.ones(2)
SIGN, CAUSE, TOOL = (0, 1), (1, 2), (1, 5)
"""Experts: the first two are liked where the behaviour shows, and only the second brings it about; the replies of
benign conversations need the third as it is."""
QUICK = ActiveConfig(budget=600, rounds=3, members=1, steps=60, l1=(0.02,), alphas=(1.0,))


def conversation(number: int, of: str, label: str | None) -> Conversation:
    messages = (Message(role="user", content="do it"),)
    return Conversation.model_validate(
        {"id": f"{of}-{number}", "group_id": str(number), "set": of, "label": label, "messages": messages}
    )


def logits(conversation: Conversation, generator: torch.Generator) -> Tensor:
    """z_TLE of a conversation: both experts tell the classes apart, the one that does nothing more clearly."""
    z_TLE = torch.randn(4, 2, 8, generator=generator)
    if conversation.label == "positive":
        z_TLE[:, SIGN[0], SIGN[1]] += 4
        z_TLE[:, CAUSE[0], CAUSE[1]] += 2
    return z_TLE.half()


TARGETS = [conversation(number, "target", "positive" if number % 2 else "negative") for number in range(60)]
BENIGN = [conversation(number, "utility/benign", None) for number in range(20)]


def made_up_traces() -> TraceSet:
    generator = torch.Generator().manual_seed(1)
    regions = torch.zeros(4, dtype=torch.uint8)
    rows = []
    for target in TARGETS:
        z_TLE = logits(target, generator)
        label = int(target.label == "positive")
        rows.append(SampleTrace(target.id, target.group_id, label, z_TLE, regions, raw_top_k(z_TLE)))
    return decode([encode(rows, SPEC)])


class MadeUpEngine:
    """A model in which one expert brings the behaviour about; it counts the generations that are asked of it."""

    def __init__(self) -> None:
        self.generations = 0
        self._noise = torch.Generator().manual_seed(2)

    def __call__(self, pairs: Sequence[tuple[Conversation, Mask]]) -> Iterator[tuple[int, Trial]]:
        self.generations += len(pairs)
        for number, (conversation, mask) in enumerate(pairs):
            yield number, self._try(conversation, mask)

    def _try(self, conversation: Conversation, mask: Mask) -> Trial:
        bias_LE = bias_of(mask)
        z_TLE = logits(conversation, self._noise)
        if conversation.set == "target":
            hit = conversation.label == "positive" or float(bias_LE[CAUSE]) > 1
        else:
            hit = abs(float(bias_LE[TOOL])) < 1
        return Trial("hit" if hit else "miss", z_TLE)


def search(config: ActiveConfig = QUICK, seed: int = 0) -> tuple[Proposal, MadeUpEngine]:
    engine = MadeUpEngine()
    return active.candidates(engine, made_up_traces(), [*TARGETS, *BENIGN], SPEC, SIGMA, config, seed), engine


def trials_of(proposal: Proposal) -> Trials:
    assert proposal.cost.trials is not None
    return proposal.cost.trials


def only_bias(proposal: Proposal) -> Tensor:
    [candidate] = proposal.candidates
    return bias_of(candidate.mask)


def test_trials_find_what_acts_and_spare_what_other_replies_need() -> None:
    proposal, _ = search()
    bias_LE = only_bias(proposal)
    assert bias_LE[CAUSE] > 1
    assert abs(bias_LE[TOOL]) < 1
    rounds = trials_of(proposal).rounds
    assert rounds[-1].changed > rounds[0].changed + 0.1


@pytest.mark.parametrize(("budget", "rounds"), [(200, 3), (64, 1)])
def test_the_budget_is_what_is_spent(budget: int, rounds: int) -> None:
    config = ActiveConfig(budget=budget, rounds=rounds, members=1, steps=2)
    engine = MadeUpEngine()
    conversations = [*TARGETS, *BENIGN]
    proposal = active.candidates(engine, made_up_traces(), conversations, SPEC, SIGMA, config, 0)
    assert engine.generations == budget
    trials = trials_of(proposal)
    assert (trials.budget, trials.generations) == (budget, budget)
    assert sum(trial_round.generations for trial_round in trials.rounds) == budget
    assert f"{budget} of {budget} generations in {rounds} rounds" in proposal.note
    assert [candidate.cell for candidate in proposal.candidates] == [
        {"l1": l1, "alpha": a} for l1 in config.l1 for a in config.alphas
    ]


def test_equal_seeds_give_equal_masks() -> None:
    config = ActiveConfig(budget=64, rounds=1, members=2, steps=10, l1=(0.02,), alphas=(1.0,))
    first, repeated, other = (only_bias(search(config, seed)[0]) for seed in (0, 0, 1))
    assert torch.equal(first, repeated)
    assert not torch.equal(first, other)


def test_trials_that_come_back_in_another_order_teach_the_same() -> None:
    """Workers that share them finish in any order."""
    config = ActiveConfig(budget=64, rounds=1, members=1, steps=10, l1=(0.02,), alphas=(1.0,))

    class Backwards(MadeUpEngine):
        def __call__(self, pairs: Sequence[tuple[Conversation, Mask]]) -> Iterator[tuple[int, Trial]]:
            return reversed(list(super().__call__(pairs)))

    masks = [
        only_bias(active.candidates(engine, made_up_traces(), [*TARGETS, *BENIGN], SPEC, SIGMA, config, 0))
        for engine in (MadeUpEngine(), Backwards())
    ]
    assert masks[0].any()
    assert torch.equal(masks[0], masks[1])


def test_the_search_in_steps_finds_the_same_masks() -> None:
    """Each step begins anew, as in another process, and loads no model: the trials run elsewhere."""
    config = ActiveConfig(budget=192, rounds=3, members=2, steps=10, l1=(0.02,), alphas=(1.0, 2.0))
    whole, _ = search(config)
    unused: Any = None
    engine = MadeUpEngine()
    material = Material(
        model=unused,
        conversations=[*TARGETS, *BENIGN],
        contrast=TARGETS,
        traces=made_up_traces(),
        spec=SPEC,
        sigma_L=SIGMA,
        surrogates=unused,
        behaviour=unused,
        generation=unused,
        seed=0,
        compute=ComputeConfig(),
    )
    assert ACTIVE.go_on is not None
    past: list[list[tuple[int, Trial]]] = []
    step = ACTIVE.go_on(material, config, None, past)
    while isinstance(step, Asked):
        conversations = [material.conversations[place] for place in step.places]
        past.append(list(engine(list(zip(conversations, step.masks, strict=True))))[::-1])
        step = ACTIVE.go_on(material, config, step.state, past)
    assert [len(trials) for trials in past] == [64, 64, 64]
    assert (step.cost, step.note) == (whole.cost, whole.note)
    masks = [bias_of(candidate.mask) for candidate in step.candidates]
    assert torch.equal(torch.stack(masks), torch.stack([bias_of(candidate.mask) for candidate in whole.candidates]))
    assert any(mask.any() for mask in masks)


def test_a_budget_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="raise budget to 192 or lower rounds"):
        ActiveConfig(budget=100, rounds=3)


def test_nothing_to_change_is_refused() -> None:
    positive = [target for target in TARGETS if target.label == "positive"]
    with pytest.raises(DataError, match="labelled negative"):
        active.candidates(MadeUpEngine(), made_up_traces(), positive, SPEC, SIGMA, QUICK, 0)


def test_a_planted_circuit_is_found_without_a_gradient(testbed_folder: Path) -> None:
    behaviour = behaviour_config("jailbreak-defence", str(testbed_folder))
    loaded = load(ModelConfig(path=str(testbed_folder)))
    conversations, _ = parse_conversations(decode_lines(Path(str(behaviour.conversations)).read_bytes()), 10_000)
    target = [row for row in conversations if row.set == "target"]
    to_keep = [row for row in conversations if row.set != "target"]
    spec, generation = inspect_routers(loaded.model), GenerationConfig(max_new_tokens=8, batch_size=128)
    traces = decode([encode(harvest(loaded, target[:400], 4096), spec)])
    sigma, config = traces.sigma(), QUICK.model_copy(update={"alphas": (3.0,)})
    engine = LocalEngine(loaded, behaviour, generation)
    [candidate] = active.candidates(engine, traces, [*target[:400], *to_keep[:400]], spec, sigma, config, 0).candidates
    held_out = [*[row for row in target[400:] if row.label == "negative"][:60], *to_keep[-60:]]
    before = hits(loaded, behaviour, held_out, None, generation)
    after = hits(loaded, behaviour, held_out, candidate.mask, generation)
    assert sum(before[:60]) <= 6
    assert sum(after[:60]) >= 40
    assert sum(after[60:]) >= sum(before[60:]) - 3


def hits(
    loaded: Loaded,
    behaviour: BehaviourConfig,
    conversations: Sequence[Conversation],
    mask: Mask | None,
    generation: GenerationConfig,
) -> list[bool]:
    verdicts = judge_all(behaviour, conversations, generate(loaded, conversations, mask, generation))
    return [verdict.outcome == "hit" for verdict in verdicts]
