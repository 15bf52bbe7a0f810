"""Masks learnt from trials: rounds of proposing masks, judging replies under them and learning from what happened.

For engines that give no gradients: what counts are judged replies of the steered model and the router logits that they
followed. A surrogate that is fitted to unsteered traces takes for a cause what merely goes along with the behaviour;
one that saw the verdicts under its own proposals unlearns that, since there the mask moved the routing.
Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mascing.circuits.active.lessons import Lesson, learn, noise, search, some, unit, unsteered
from mascing.circuits.active.trials import Engine, Trial
from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.conversation import Conversation
from mascing.schemas.methods import ActiveConfig, Span
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.surrogate import untrained
from mascing.traces.trace_set import Traces

NAME = "active"
SPAN: Span = "question+prompt"
"""What a generation's prompt shows from the final user turn on."""
KEEP_SHARE = 0.25
"""Of a round's generations, those on conversations whose outcome must stay: positive, utility and protected ones."""
KEPT, STRENGTH = (0.3, 1.0), (0.5, 3.0)
"""What a trial's mask keeps of a proposal's entries, and their root mean square in units of sigma: drawn anew for every
trial, so that verdicts tell which entries matter."""


@dataclass(frozen=True)
class Round:
    """What one round spent and saw: shares of hits among conversations to change and among those to keep."""

    generations: int
    changed: float
    kept: float | None


@dataclass(frozen=True)
class Found:
    """The candidates, and the rounds of trials that they were learnt from."""

    candidates: list[Candidate]
    rounds: list[Round]

    def facts(self, config: ActiveConfig) -> dict[str, Any]:
        """Budget and what was spent of it, in plain JSON values."""
        rounds = [asdict(one) for one in self.rounds]
        return {"budget": config.budget, "generations": self.generations, "rounds": rounds}

    def told(self, config: ActiveConfig) -> str:
        """One line for who watches: what was spent, and how each round's trials went."""
        rates = ", ".join(f"{100 * one.changed:.0f}%" for one in self.rounds)
        return (
            f"active took {self.generations} of {config.budget} generations in {config.rounds} rounds; "
            f"of the trials on conversations to change, hits in each round: {rates}"
        )

    @property
    def generations(self) -> int:
        """Replies that were generated and judged."""
        return sum(one.generations for one in self.rounds)


def candidates(
    engine: Engine,
    traces: Traces,
    conversations: Sequence[Conversation],
    spec: RouterSpec,
    sigma: Tensor,
    config: ActiveConfig,
    seed: int,
) -> Found:
    """One candidate a cell of l1 x alphas, after ``config.rounds`` rounds of ``config.budget`` generations together.

    ``traces`` and ``conversations`` are the whole training split; ``sigma`` [L] is the calibrated spread of each
    layer's logits. A cell's bias is ``alpha * sigma[:, None] * S``, where the entries of S have root mean square 1.
    Raises DataError unless there are target conversations labelled negative.
    """
    to_change = [one for one in conversations if _is_to_change(one)]
    to_keep = [one for one in conversations if one.set != "target" or one.label == "positive"]
    if not to_change:
        raise DataError("active needs target conversations labelled negative: there is nothing to change in train")
    generator = torch.Generator().manual_seed(seed)
    members = [untrained(spec.n_experts, spec.n_layers, one) for one in member_seeds(seed, config.members)]
    lessons = unsteered(traces.span(SPAN), spec)
    successes: list[Tensor] = []
    rounds: list[Round] = []
    for number in range(config.rounds):
        learn(members, lessons, config.steps, generator)
        # With one member, that one and all of them propose the same.
        proposing = [members, *([one] for one in members)] if len(members) > 1 else [members]
        proposals = [
            search(ones, lessons, sigma, config.l1[0], config.steps, generator, noise(spec, generator))
            for ones in proposing
        ]
        drawn = _drawn(to_change, to_keep, config.generations_of(number), generator)
        tried = [_varied(proposals, successes, generator) for _ in drawn]
        biases = [sigma[:, None] * S_LE for S_LE in tried]
        masks = [Mask.from_bias(bias_LE, spec) for bias_LE in biases]
        trials = engine(list(zip(drawn, masks, strict=True)))
        lessons += [Lesson.of(trial, bias_LE) for trial, bias_LE in zip(trials, biases, strict=True)]
        successes += [S_LE for S_LE, trial in zip(tried, trials, strict=True) if _changed(trial)]
        rounds.append(_summary(trials))
    learn(members, lessons, config.steps, generator)
    # From where trials succeeded: elsewhere the surrogates know less, and a search may win over them alone.
    start_LE = unit(torch.stack(successes).mean(dim=0)) if successes else noise(spec, generator)
    found = []
    for l1 in config.l1:
        S_LE = search(members, lessons, sigma, l1, config.steps, generator, start_LE)
        for alpha in config.alphas:
            cell = {"l1": l1, "alpha": alpha}
            mask = Mask.from_bias(alpha * sigma[:, None] * S_LE, spec, {"method": NAME, **cell})
            found.append(Candidate(NAME, cell, mask))
    return Found(found, rounds)


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
    return Round(len(trials), sum(changed) / len(changed), sum(kept) / len(kept) if kept else None)
