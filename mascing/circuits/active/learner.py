"""Who learns from trials: surrogates, their lessons, and what was tried so far; the state between two rounds as bytes.

Shape suffixes: N trial, L MoE layer, E expert.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TypeVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from mascing.circuits.active.learning import learn, noise, search, unit
from mascing.circuits.active.lessons import Lesson, Lessons
from mascing.circuits.active.trials import Trial
from mascing.circuits.method import Asked, Proposal
from mascing.errors import DataError
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.search_cost import Round, SearchCost, Trials
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import ActiveConfig
from mascing.surrogates.device import own_device
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.surrogate import Surrogate, untrained
from mascing.traces.trace_set import Traces

NAME = "active"
KEEP_SHARE = 0.25
"""Share of a round's generations on conversations whose outcome must stay: positive, utility and protected ones."""
KEPT, STRENGTH = (0.3, 1.0), (0.5, 3.0)
"""Ranges of the share of a proposal's entries that a trial keeps, and of their root mean square in units of sigma.

Both are drawn anew for every trial, so that verdicts show which entries matter."""

T = TypeVar("T")


class Learner:
    """Asks for trials round by round, hears how they went, and proposes masks once it has heard of all rounds.

    Raises DataError if no target conversation is labelled negative.
    """

    def __init__(
        self,
        file: IO[bytes],
        traces: Traces,
        conversations: Sequence[Conversation],
        spec: RouterSpec,
        sigma: Tensor,
        config: ActiveConfig,
        seed: int,
    ) -> None:
        self._to_change, self._to_keep = list[int](), list[int]()
        for place, row in enumerate(conversations):
            if _is_to_change(row):
                self._to_change.append(place)
            elif _is_to_keep(row):
                self._to_keep.append(place)
        if not self._to_change:
            raise DataError("active needs target conversations labelled negative: there is nothing to change in train")
        self._conversations, self._spec, self._sigma, self._config = conversations, spec, sigma, config
        self._generator = torch.Generator().manual_seed(seed)
        self._lessons = Lessons(spec, file)
        self._lessons.add_unsteered(traces, config.traces, torch.Generator().manual_seed(seed))
        seeds, device = member_seeds(seed, config.members), own_device()
        self._members = [untrained(spec.n_experts, spec.n_layers, member_seed).to(device) for member_seed in seeds]
        self._asked: list[tuple[list[int], Tensor]] = []  # of each round: places, and variations [N, L, E]
        self._heard: list[Round] = []
        self._successes: list[Tensor] = []

    @property
    def finished(self) -> bool:
        """Whether it has heard of all rounds."""
        return len(self._heard) == self._config.rounds

    def ask(self) -> Asked:
        """Learn from all lessons, and ask for variations of new proposals on conversations that are drawn."""
        self._learn()
        proposals, generations = self._proposals(), self._config.generations_of(len(self._heard))
        places = _drawn(self._to_change, self._to_keep, generations, self._generator)
        variations_NLE = torch.stack([_varied(proposals, self._successes, self._generator) for _ in places])
        self._asked.append((places, variations_NLE))
        masks = [Mask.from_bias(bias_LE, self._spec) for bias_LE in self._biases(variations_NLE)]
        return Asked(places, masks, self._state())

    def hear(self, trials: Iterable[tuple[int, Trial]]) -> None:
        """Write down the trials of the next round, each with its number, in any order; nothing is drawn for it.

        Those that gave no reply may be missing. Raises DataError if all trials on conversations to change are.
        """
        places, variations_NLE = self._asked[len(self._heard)]
        conversations, biases = [self._conversations[place] for place in places], self._biases(variations_NLE)
        hits: dict[int, bool] = {}
        lessons: dict[int, Lesson] = {}
        for number, trial in trials:
            lessons[number], hits[number] = self._lessons.of(trial, biases[number]), trial.outcome == "hit"
        in_order = sorted(lessons)
        self._lessons.add([lessons[number] for number in in_order])
        self._successes += [
            variations_NLE[number] for number in in_order if hits[number] and _is_to_change(conversations[number])
        ]
        self._heard.append(_summary([(conversations[number], hits[number]) for number in in_order]))

    def proposal(self) -> Proposal:
        """Learn from all lessons; one candidate per cell of l1 x alphas, and what the rounds cost."""
        self._learn()
        generations = sum(heard.generations for heard in self._heard)
        trials = Trials(budget=self._config.budget, generations=generations, rounds=tuple(self._heard))
        return Proposal(self._candidates(), SearchCost(trials=trials), _note(trials))

    def resume(self, state: bytes) -> None:
        """Take over the state that came with what was asked last; the trials must be heard again."""
        tensors = load(state)
        self._generator.set_state(tensors["generator"])
        self._asked = [
            (tensors[f"places.{number}"].tolist(), tensors[f"variations.{number}"])
            for number in range(sum(name.startswith("places.") for name in tensors))
        ]
        for number, member in enumerate(self._members):
            member.load_state_dict(_under(f"member.{number}.", tensors))

    def _state(self) -> bytes:
        tensors = {"generator": self._generator.get_state()}
        for number, (places, variations_NLE) in enumerate(self._asked):
            tensors |= {f"places.{number}": torch.tensor(places), f"variations.{number}": variations_NLE}
        for number, member in enumerate(self._members):
            tensors |= {f"member.{number}.{name}": value.cpu() for name, value in member.state_dict().items()}
        return bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    def _learn(self) -> None:
        learn(self._members, self._lessons, self._config.steps, self._generator)

    def _biases(self, variations_NLE: Tensor) -> list[Tensor]:
        return [self._sigma[:, None] * S_LE for S_LE in variations_NLE]

    def _candidates(self) -> list[Candidate]:
        """Candidates that are searched from the mean of the successful masks.

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


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


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
    if not hits_to_change:
        raise DataError(
            "no trial of a round on conversations to change gave a reply: see the reasons in the pieces under trials/ "
            "of the storage, or leave `methods.active` out"
        )
    hits_to_keep = [hit for conversation, hit in tried if not _is_to_change(conversation)]
    return Round(
        generations=len(tried),
        changed=sum(hits_to_change) / len(hits_to_change),
        kept=sum(hits_to_keep) / len(hits_to_keep) if hits_to_keep else None,
    )
