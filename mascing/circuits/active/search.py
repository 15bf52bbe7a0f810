"""Masks learnt from trials: rounds of proposing masks, judging replies under them and learning from what happened.

For engines that give no gradients: what counts are judged replies of the steered model and the router logits that they
followed. A surrogate that is fitted to unsteered traces takes for a cause what merely goes along with the behaviour;
one that saw the verdicts under its own proposals unlearns that, since there the mask moved the routing.
Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mascing.circuits.active.lessons import Lesson, learn, noise, search, some, unit, unsteered
from mascing.circuits.active.trials import Engine, Trial
from mascing.circuits.method import Proposal
from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.conversation import Conversation
from mascing.schemas.methods import ActiveConfig, Span
from mascing.schemas.search_cost import Round, SearchCost, Trials
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.surrogate import Surrogate, untrained
from mascing.traces.trace_set import Traces

NAME = "active"
SPAN: Span = "question+prompt"
"""What a generation's prompt shows from the final user turn on."""
KEEP_SHARE = 0.25
"""Of a round's generations, those on conversations whose outcome must stay: positive, utility and protected ones."""
KEPT, STRENGTH = (0.3, 1.0), (0.5, 3.0)
"""What a trial's mask keeps of a proposal's entries, and their root mean square in units of sigma: drawn anew for every
trial, so that verdicts tell which entries matter."""


def candidates(
    engine: Engine,
    traces: Traces,
    conversations: Sequence[Conversation],
    spec: RouterSpec,
    sigma: Tensor,
    config: ActiveConfig,
    seed: int,
) -> Proposal:
    """One candidate a cell of l1 x alphas, after ``config.rounds`` rounds of ``config.budget`` generations together.

    ``traces`` and ``conversations`` are the whole training split; ``sigma`` [L] is the calibrated spread of each
    layer's logits. A cell's bias is ``alpha * sigma[:, None] * S``, where the entries of S have root mean square 1.
    Raises DataError unless there are target conversations labelled negative.
    """
    to_change = [conversation for conversation in conversations if _is_to_change(conversation)]
    to_keep = [each for each in conversations if each.set != "target" or each.label == "positive"]
    if not to_change:
        raise DataError("active needs target conversations labelled negative: there is nothing to change in train")
    learner = _Learner(engine, unsteered(traces.span(SPAN), spec), spec, sigma, config, seed)
    rounds = []
    for number in range(config.rounds):
        learner.learn()
        rounds.append(learner.try_out(to_change, to_keep, config.generations_of(number)))
    learner.learn()
    generations = sum(one_round.generations for one_round in rounds)
    trials = Trials(budget=config.budget, generations=generations, rounds=tuple(rounds))
    return Proposal(learner.candidates(), SearchCost(trials=trials), _note(trials))


class _Learner:
    """An ensemble of surrogates, the lessons that it learns from, and the masks that changed a reply so far."""

    def __init__(
        self,
        engine: Engine,
        lessons: list[Lesson],
        spec: RouterSpec,
        sigma: Tensor,
        config: ActiveConfig,
        seed: int,
    ) -> None:
        self._engine, self._lessons, self._spec, self._sigma, self._config = engine, lessons, spec, sigma, config
        self._generator = torch.Generator().manual_seed(seed)
        seeds = member_seeds(seed, config.members)
        self._members = [untrained(spec.n_experts, spec.n_layers, member_seed) for member_seed in seeds]
        self._successes: list[Tensor] = []

    def learn(self) -> None:
        """Go on fitting every member to all lessons."""
        learn(self._members, self._lessons, self._config.steps, self._generator)

    def try_out(self, to_change: Sequence[Conversation], to_keep: Sequence[Conversation], generations: int) -> Round:
        """Have conversations drawn from both answered under variations of new proposals, and keep the lessons."""
        proposals = self._proposals()
        drawn = _drawn(to_change, to_keep, generations, self._generator)
        tried = [_varied(proposals, self._successes, self._generator) for _ in drawn]
        biases = [self._sigma[:, None] * S_LE for S_LE in tried]
        masks = [Mask.from_bias(bias_LE, self._spec) for bias_LE in biases]
        trials = self._engine(list(zip(drawn, masks, strict=True)))
        self._lessons += [Lesson.of(trial, bias_LE) for trial, bias_LE in zip(trials, biases, strict=True)]
        self._successes += [S_LE for S_LE, trial in zip(tried, trials, strict=True) if _changed(trial)]
        return _summary(trials)

    def candidates(self) -> list[Candidate]:
        """One a cell of l1 x alphas, searched for from where trials succeeded.

        Elsewhere the surrogates know less, and a search may win over them alone.
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
        """What all members together ask for, then each alone; with one member both are the same."""
        alone = [[member] for member in self._members] if len(self._members) > 1 else []
        return [
            self._search(members, self._config.l1[0], noise(self._spec, self._generator))
            for members in (self._members, *alone)
        ]

    def _search(self, members: Sequence[Surrogate], l1: float, start_LE: Tensor) -> Tensor:
        return search(members, self._lessons, self._sigma, l1, self._config.steps, self._generator, start_LE)


def _note(trials: Trials) -> str:
    rates = ", ".join(f"{100 * one_round.changed:.0f}%" for one_round in trials.rounds)
    return (
        f"active took {trials.generations} of {trials.budget} generations in {len(trials.rounds)} rounds; "
        f"of the trials on conversations to change, hits in each round: {rates}"
    )


def _varied(proposals: Sequence[Tensor], successes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Exploration: a proposal, or as often a mask that changed a reply before, without a random part of its entries.

    Its strength is drawn anew, too.
    """
    [from_success] = some((False, True), 1, generator) if successes else [False]
    [S_LE] = some(successes if from_success else proposals, 1, generator)
    keep, strength = (low + (high - low) * float(torch.rand(1, generator=generator)) for low, high in (KEPT, STRENGTH))
    return strength * unit(S_LE * (torch.rand(S_LE.shape, generator=generator) < keep))


def _changed(trial: Trial) -> bool:
    return trial.outcome == "hit" and _is_to_change(trial.conversation)


def _is_to_change(conversation: Conversation) -> bool:
    return conversation.set == "target" and conversation.label == "negative"


def _drawn(
    to_change: Sequence[Conversation], to_keep: Sequence[Conversation], n: int, generator: torch.Generator
) -> list[Conversation]:
    n_keep = round(KEEP_SHARE * n) if to_keep else 0
    return some(to_change, n - n_keep, generator) + some(to_keep, n_keep, generator)


def _summary(trials: Sequence[Trial]) -> Round:
    changed = [one.outcome == "hit" for one in trials if _is_to_change(one.conversation)]
    kept = [one.outcome == "hit" for one in trials if not _is_to_change(one.conversation)]
    return Round(
        generations=len(trials),
        changed=sum(changed) / len(changed),
        kept=sum(kept) / len(kept) if kept else None,
    )
