"""Masks learnt from trials: rounds of proposing masks, judging replies under them and learning from what happened.

For engines that give no gradients: what counts are judged replies of the steered model and the router logits that they
followed. A surrogate that is fitted to unsteered traces takes for a cause what merely goes along with the behaviour;
one that saw the verdicts under its own proposals unlearns that, since there the mask moved the routing.
Shape suffixes: N sample, T token, L MoE layer, E expert.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from mascing.circuits.candidates import Candidate
from mascing.ensemble import member_seeds
from mascing.errors import DataError
from mascing.mask import Mask
from mascing.routers import RouterSpec
from mascing.surrogate import BATCH, LEARNING_RATE, Surrogate, untrained
from mascing.traces import Traces
from mascing.trials import Engine, Trial
from schemas.config import ActiveConfig, Span
from schemas.conversation import Conversation

NAME = "active"
SPAN: Span = "question+prompt"
"""What a generation's prompt shows from the final user turn on."""
SEARCH_RATE = 0.05
THRESHOLD = 0.1
"""Adam's rate and the size up to which entries of S become 0: both as in the paper's search."""
KEEP_SHARE = 0.25
"""Of a round's generations, those on conversations whose outcome must stay: positive, utility and protected ones."""
KEPT, STRENGTH = (0.3, 1.0), (0.5, 3.0)
"""What a trial's mask keeps of a proposal's entries, and their root mean square in units of sigma: drawn anew for every
trial, so that verdicts tell which entries matter."""

T = TypeVar("T")


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
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """One candidate a cell of l1 x alphas, after ``config.rounds`` rounds of ``config.budget`` generations together.

    ``traces`` and ``conversations`` are the whole training split; ``sigma`` [L] is the calibrated spread of each
    layer's logits. A cell's bias is ``alpha * sigma[:, None] * S``, where the entries of S have root mean square 1.
    ``progress(done, total)`` counts rounds. Raises DataError unless there are target conversations labelled negative.
    """
    to_change = [one for one in conversations if _is_to_change(one)]
    to_keep = [one for one in conversations if one.set != "target" or one.label == "positive"]
    if not to_change:
        raise DataError("active needs target conversations labelled negative: there is nothing to change in train")
    generator = torch.Generator().manual_seed(seed)
    members = [untrained(spec.n_experts, spec.n_layers, one) for one in member_seeds(seed, config.members)]
    lessons = _unsteered(traces.span(SPAN), spec)
    rounds: list[Round] = []
    successes: list[Tensor] = []
    for number in range(config.rounds):
        for member in members:
            _learn(member, lessons, config.steps, generator)
        proposals = [
            _search(through, lessons, sigma, config.l1[0], config.steps, generator)
            for through in ([members] if len(members) == 1 else [members, *([one] for one in members)])
        ]
        asked = [
            (conversation, Mask.from_bias(sigma[:, None] * _varied(proposals, successes, generator), spec))
            for conversation in _drawn(to_change, to_keep, config.generations_of(number), generator)
        ]
        trials = engine(asked)
        lessons += [_Lesson.of(trial) for trial in trials]
        successes += [
            _in_sigmas(one.mask, sigma) for one in trials if _is_to_change(one.conversation) and one.outcome == "hit"
        ]
        rounds.append(_summary(trials))
        if progress is not None:
            progress(number + 1, config.rounds)
    for member in members:
        _learn(member, lessons, config.steps, generator)
    found = []
    for l1 in config.l1:
        S_LE = _search(members, lessons, sigma, l1, config.steps, generator)
        for alpha in config.alphas:
            cell = {"l1": l1, "alpha": alpha}
            mask = Mask.from_bias(alpha * sigma[:, None] * S_LE, spec, {"method": NAME, **cell})
            found.append(Candidate(NAME, cell, mask))
    return Found(found, rounds)


@dataclass(frozen=True)
class _Lesson:
    """Raw router logits float16 [T, L, E], the bias [L, E] that they were selected under, and what came of it."""

    z_TLE: Tensor
    bias_LE: Tensor
    hit: bool
    wanted: bool
    """Whether a mask must bring (or keep) a hit here; of unsteered traces those that are no hit by themselves."""

    @classmethod
    def of(cls, trial: Trial) -> "_Lesson":
        assert trial.mask.bias is not None
        # An unscored reply is no hit: a mask whose replies cannot be read must not look good.
        return cls(trial.z_TLE, trial.mask.bias, trial.outcome == "hit", wanted=True)


def _unsteered(traces: Traces, spec: RouterSpec) -> list[_Lesson]:
    nothing_LE = torch.zeros(spec.n_layers, spec.n_experts)
    return [
        _Lesson(part.z[start:end], nothing_LE, label == 1, wanted=label == 0)
        for part in traces.parts()
        for start, end, label in zip(
            part.offsets[:-1].tolist(), part.offsets[1:].tolist(), part.labels.tolist(), strict=True
        )
    ]


def _learn(member: Surrogate, lessons: Sequence[_Lesson], steps: int, generator: torch.Generator) -> None:
    """Go on fitting the surrogate, on lessons drawn with replacement, to what came of logits with their bias added."""
    member.requires_grad_(True).train()
    optimizer = torch.optim.Adam(member.parameters(), lr=LEARNING_RATE)
    for _ in range(steps):
        batch = _some(lessons, BATCH, generator)
        z_NTLE, mask_NT = _padded(batch)
        bias_NLE = torch.stack([lesson.bias_LE for lesson in batch])
        logits_N = member(z_NTLE + bias_NLE[:, None], mask_NT)
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(logits_N, torch.tensor([float(one.hit) for one in batch])).backward()
        optimizer.step()
    member.requires_grad_(False).eval()


def _search(
    members: Sequence[Surrogate],
    lessons: Sequence[_Lesson],
    sigma: Tensor,
    l1: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """S [L, E] of root mean square 1 over its non-zero entries: the members expect a hit wherever one is wanted.

    Minimises ``mean BCE(f(z + sigma * S), hit) + l1 * |S|_1``. The logits are those recorded under earlier proposals,
    without these: the deeper layers' are those that a mask of this kind brings about.
    """
    wanted = [lesson for lesson in lessons if lesson.wanted]
    S_LE = (0.01 * torch.randn(lessons[0].bias_LE.shape, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([S_LE], lr=SEARCH_RATE)
    for _ in range(steps):
        z_NTLE, mask_NT = _padded(_some(wanted, BATCH, generator))
        steered_NTLE = z_NTLE + sigma[:, None] * S_LE
        logits_MN = torch.stack([member(steered_NTLE, mask_NT) for member in members])
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits_MN, torch.ones_like(logits_MN))
        (loss + l1 * S_LE.abs().sum()).backward()
        optimizer.step()
    return _unit(torch.where(S_LE.detach().abs() > THRESHOLD, S_LE.detach(), 0.0))


def _padded(lessons: Sequence[_Lesson]) -> tuple[Tensor, Tensor]:
    """z_NTLE float32, zero after each one's end, and mask_NT, true on real tokens."""
    z_NTLE = pad_sequence([lesson.z_TLE for lesson in lessons], batch_first=True).float()
    counts = torch.tensor([len(lesson.z_TLE) for lesson in lessons])
    return z_NTLE, torch.arange(z_NTLE.shape[1]) < counts[:, None]


def _varied(proposals: Sequence[Tensor], successes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Exploration: a proposal, or as often a mask that changed a reply before, without a random part of its entries.

    Its strength is drawn anew, too.
    """
    [from_success] = _some((False, True), 1, generator) if successes else [False]
    [S_LE] = _some(successes if from_success else proposals, 1, generator)
    keep, strength = (low + (high - low) * float(torch.rand(1, generator=generator)) for low, high in (KEPT, STRENGTH))
    return strength * _unit(S_LE * (torch.rand(S_LE.shape, generator=generator) < keep))


def _in_sigmas(mask: Mask, sigma: Tensor) -> Tensor:
    assert mask.bias is not None
    return mask.bias / sigma[:, None]


def _is_to_change(conversation: Conversation) -> bool:
    return conversation.set == "target" and conversation.label == "negative"


def _unit(S_LE: Tensor) -> Tensor:
    """Scaled so that the non-zero entries have root mean square 1; all zeros stay so."""
    return S_LE * (S_LE.count_nonzero() / S_LE.square().sum().clamp(min=1e-12)).sqrt()


def _drawn(
    to_change: Sequence[Conversation], to_keep: Sequence[Conversation], n: int, generator: torch.Generator
) -> list[Conversation]:
    n_keep = round(KEEP_SHARE * n) if to_keep else 0
    return _some(to_change, n - n_keep, generator) + _some(to_keep, n_keep, generator)


def _some(items: Sequence[T], n: int, generator: torch.Generator) -> list[T]:
    """``n`` items drawn with replacement."""
    return [items[index] for index in torch.randint(len(items), (n,), generator=generator).tolist()] if n else []


def _summary(trials: Sequence[Trial]) -> Round:
    changed = [one.outcome == "hit" for one in trials if _is_to_change(one.conversation)]
    kept = [one.outcome == "hit" for one in trials if not _is_to_change(one.conversation)]
    return Round(len(trials), sum(changed) / len(changed), sum(kept) / len(kept) if kept else None)
