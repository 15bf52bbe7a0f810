"""Masks learned from trials: rounds of proposing masks, judging replies under them and learning from the outcome.

This works with engines that give no gradients: it needs only judged replies of the steered model and their router
logits. A surrogate fitted to unsteered traces mistakes correlates of the behaviour for causes. A surrogate that sees
the verdicts on its own proposals unlearns this, because there the mask changed the routing.
Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import TypeVar

import torch
from torch import Tensor

from mascing.circuits.active.learning import learn, noise, search, unit
from mascing.circuits.active.lessons import Lesson, Lessons
from mascing.circuits.active.trials import Engine
from mascing.circuits.method import Proposal
from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.search_cost import Round, SearchCost, Trials
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import ActiveConfig, Span
from mascing.surrogates.device import own_device
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.surrogate import Surrogate, untrained
from mascing.traces.trace_set import Traces

NAME = "active"
SPAN: Span = "question+prompt"
"""The tokens of a generation's prompt from the final user turn on."""
KEEP_SHARE = 0.25
"""Share of a round's generations on conversations whose outcome must stay: positive, utility and protected ones."""
KEPT, STRENGTH = (0.3, 1.0), (0.5, 3.0)
"""Ranges of the share of a proposal's entries that a trial keeps, and of their root mean square in units of sigma.

Both are drawn anew for every trial, so that verdicts show which entries matter."""

T = TypeVar("T")


def candidates(
    engine: Engine,
    traces: Traces,
    conversations: Sequence[Conversation],
    spec: RouterSpec,
    sigma: Tensor,
    config: ActiveConfig,
    seed: int,
) -> Proposal:
    """Return one candidate per cell of l1 x alphas, after ``config.rounds`` rounds with ``config.budget`` generations.

    The budget is for all rounds together. ``traces`` and ``conversations`` are the whole training split; ``sigma`` [L]
    is the calibrated spread of each layer's logits. A cell's bias is ``alpha * sigma[:, None] * S``, where the non-zero
    entries of S have root mean square 1. At most `config.traces` of the traces are kept, on the local disk as what the
    trials leave. Raises DataError if no target conversation is labelled negative.
    """
    to_change, to_keep = (
        [place for place, row in enumerate(conversations) if test(row)] for test in (_is_to_change, _is_to_keep)
    )
    if not to_change:
        raise DataError("active needs target conversations labelled negative: there is nothing to change in train")
    rounds = []
    with TemporaryFile() as file:  # it has no name, and ends with this process at the latest
        learner = _Learner(engine, Lessons(spec, file), traces.span(SPAN), spec, sigma, config, seed)
        for number in range(config.rounds):
            learner.learn()
            rounds.append(learner.try_out(conversations, to_change, to_keep, config.generations_of(number)))
        learner.learn()
        proposed = learner.candidates()
    generations = sum(finished.generations for finished in rounds)
    trials = Trials(budget=config.budget, generations=generations, rounds=tuple(rounds))
    return Proposal(proposed, SearchCost(trials=trials), _note(trials))


class _Learner:
    """An ensemble of surrogates, its lessons, and the masks that have changed a reply so far."""

    def __init__(
        self,
        engine: Engine,
        lessons: Lessons,
        traces: Traces,
        spec: RouterSpec,
        sigma: Tensor,
        config: ActiveConfig,
        seed: int,
    ) -> None:
        self._engine, self._spec, self._sigma, self._config = engine, spec, sigma, config
        self._generator = torch.Generator().manual_seed(seed)
        self._lessons = lessons
        self._lessons.add_unsteered(traces, config.traces, torch.Generator().manual_seed(seed))
        seeds, device = member_seeds(seed, config.members), own_device()
        self._members = [untrained(spec.n_experts, spec.n_layers, member_seed).to(device) for member_seed in seeds]
        self._successes: list[Tensor] = []

    def learn(self) -> None:
        """Train every member further on all lessons."""
        learn(self._members, self._lessons, self._config.steps, self._generator)

    def try_out(
        self, split: Sequence[Conversation], to_change: Sequence[int], to_keep: Sequence[int], generations: int
    ) -> Round:
        """Try variations of new proposals on conversations drawn from both places of the split; keep the lessons."""
        proposals = self._proposals()
        conversations = [split[place] for place in _drawn(to_change, to_keep, generations, self._generator)]
        variations = [_varied(proposals, self._successes, self._generator) for _ in conversations]
        biases = [self._sigma[:, None] * S_LE for S_LE in variations]
        masks = [Mask.from_bias(bias_LE, self._spec) for bias_LE in biases]
        hits: dict[int, bool] = {}
        lessons: dict[int, Lesson] = {}
        for number, trial in self._engine(list(zip(conversations, masks, strict=True))):
            lessons[number], hits[number] = self._lessons.of(trial, biases[number]), trial.outcome == "hit"
        in_order = range(len(conversations))
        self._lessons.add([lessons[number] for number in in_order])
        self._successes += [
            variations[number] for number in in_order if hits[number] and _is_to_change(conversations[number])
        ]
        return _summary([(conversations[number], hits[number]) for number in in_order])

    def candidates(self) -> list[Candidate]:
        """Return one candidate per cell of l1 x alphas, searched from the mean of the successful masks.

        Elsewhere the surrogates know less, so a search could fool the surrogates and not change the model.
        """
        successes, config = self._successes, self._config
        start_LE = unit(torch.stack(successes).mean(dim=0)) if successes else noise(self._spec, self._generator)
        candidates = []
        for l1 in config.l1:
            S_LE = self._search(self._members, l1, start_LE)
            for alpha in config.alphas:
                cell = {"l1": l1, "alpha": alpha}
                mask = Mask.from_bias(alpha * self._sigma[:, None] * S_LE, self._spec, {"method": NAME, **cell})
                candidates.append(Candidate(NAME, cell, mask))
        return candidates

    def _proposals(self) -> list[Tensor]:
        """Search with all members together, then with each alone; with one member, search only once."""
        alone = [[member] for member in self._members] if len(self._members) > 1 else []
        return [
            self._search(members, self._config.l1[0], noise(self._spec, self._generator))
            for members in (self._members, *alone)
        ]

    def _search(self, members: Sequence[Surrogate], l1: float, start_LE: Tensor) -> Tensor:
        return search(members, self._lessons, self._sigma, l1, self._config.steps, self._generator, start_LE)


def _note(trials: Trials) -> str:
    rates = ", ".join(f"{100 * finished.changed:.0f}%" for finished in trials.rounds)
    return (
        f"active used {trials.generations} of {trials.budget} generations in {len(trials.rounds)} rounds; "
        f"hit rates of trials on conversations to change, by round: {rates}"
    )


def _varied(proposals: Sequence[Tensor], successes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Drop random entries of a proposal or, with equal chance, of an earlier success, and draw a new strength."""
    [from_success] = _sample((False, True), 1, generator) if successes else [False]
    [S_LE] = _sample(successes if from_success else proposals, 1, generator)
    keep, strength = (low + (high - low) * float(torch.rand(1, generator=generator)) for low, high in (KEPT, STRENGTH))
    return strength * unit(S_LE * (torch.rand(S_LE.shape, generator=generator) < keep))


def _is_to_change(conversation: Conversation) -> bool:
    return conversation.set == "target" and conversation.label == "negative"


def _is_to_keep(conversation: Conversation) -> bool:
    return conversation.set != "target" or conversation.label == "positive"


def _drawn(to_change: Sequence[int], to_keep: Sequence[int], n: int, generator: torch.Generator) -> list[int]:
    n_keep = round(KEEP_SHARE * n) if to_keep else 0
    return _sample(to_change, n - n_keep, generator) + _sample(to_keep, n_keep, generator)


def _sample(items: Sequence[T], n: int, generator: torch.Generator) -> list[T]:
    """Draw ``n`` items with replacement."""
    return [items[index] for index in torch.randint(len(items), (n,), generator=generator).tolist()] if n else []


def _summary(tried: Sequence[tuple[Conversation, bool]]) -> Round:
    hits_to_change = [hit for conversation, hit in tried if _is_to_change(conversation)]
    hits_to_keep = [hit for conversation, hit in tried if not _is_to_change(conversation)]
    return Round(
        generations=len(tried),
        changed=sum(hits_to_change) / len(hits_to_change),
        kept=sum(hits_to_keep) / len(hits_to_keep) if hits_to_keep else None,
    )
