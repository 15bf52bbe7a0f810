"""Pruning keeps the entries that matter and their effect, and judges no more masks than documented."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.evidence.results import cell_score
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import GatesConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.selection import pruning as sparsifying
from mascing.selection.parts import restricted, strongest_first
from mascing.selection.pruning import Evidence, Read, Sparsified, sparsify
from tests.mascing.mask_rules import bias_of, override_of

SPEC = RouterSpec("olmoe", (0, 2), 40, 2, "softmax")
GATES = GatesConfig()
N = 40
"""Conversations of each set."""

Row = dict[str, Any]


def rows(target: float, benign: float = 1.0, unread: int = 0) -> list[Row]:
    """Verdicts with the given rates; the last ``unread`` misses of the target set are unscored."""
    verdicts = []
    for name, hit_rate in (("target", target), ("utility/benign", benign)):
        for number in range(N):
            outcome = "hit" if number < round(hit_rate * N) else "miss"
            if name == "target" and number >= N - unread:
                outcome = "unscored"
            verdicts.append({"conversation_id": f"{number}", "group_id": f"{number}", "set": name, "outcome": outcome})
    return verdicts


def conversations_of(name: str, numbers: Sequence[int]) -> list[Conversation]:
    """Conversations of a set; its verdicts carry their ids."""
    message = Message(role="user", content="?")
    return [Conversation(id=str(n), group_id=str(n), set=name, messages=(message,)) for n in numbers]


SOME = [*conversations_of("target", range(0, N, 4)), *conversations_of("utility/benign", range(0, N, 4))]
REST = [
    conversation
    for name in ("target", "utility/benign")
    for conversation in conversations_of(name, [n for n in range(N) if n % 4])
]

Verdicts = Callable[[set[int]], list[Row]]
"""The verdicts on all conversations that a set of moved experts brings."""


@dataclass
class Judge:
    """Judges masks by ``verdicts`` and counts those judged on the first block and on the others."""

    verdicts: Verdicts
    first: int = 0
    later: int = 0

    def __call__(self, masks: Sequence[Mask], conversations: Sequence[Conversation]) -> list[list[Row]]:
        if conversations is SOME:
            self.first += len(masks)
        else:
            self.later += len(masks)
        wanted = {(conversation.set, conversation.id) for conversation in conversations}
        judged = [self.verdicts(places(mask)) for mask in masks]
        return [[row for row in of_mask if (row["set"], row["conversation_id"]) in wanted] for of_mask in judged]


def needing(needed: set[int]) -> Verdicts:
    """A synthetic model: each needed expert adds the same share to the target rate, all together 0.4."""
    return lambda moved: rows(0.5 + 0.4 * len(needed & moved) / len(needed))


def places(mask: Mask) -> set[int]:
    return set(mask.rule.entries_LE.flatten().nonzero().flatten().tolist())


def additive(n: int, seed: int = 0) -> Mask:
    """A mask of ``n`` entries of different strength."""
    generator = torch.Generator().manual_seed(seed)
    bias = torch.zeros(80)
    bias[torch.randperm(80, generator=generator)[:n]] = torch.randn(n, generator=generator)
    return Mask.from_bias(bias.view(2, 40), SPEC, {"method": "gradient"})


def pruned(mask: Mask, judge: Judge, budget: int = 10_000, read: Read | None = None) -> Sparsified:
    baseline, full = judge.verdicts(set()), judge.verdicts(places(mask))
    evidence = Evidence([SOME, REST], baseline, full, judge, budget, read)
    return sparsify(mask, mask.rule.strength_LE(torch.ones(2)), evidence, GATES)


def reading(needed: set[int]) -> Read:
    """Forced rates of the model that `needing` the same experts describes."""
    return lambda masks: [{"target": 0.5 + 0.4 * len(needed & places(mask)) / len(needed)} for mask in masks]


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 16), st.integers(0, 99), st.data())
def test_exactly_the_needed_entries_are_left(n: int, seed: int, data: st.DataObject) -> None:
    mask = additive(n, seed)
    needed = data.draw(st.sets(st.sampled_from(sorted(places(mask))), min_size=1, max_size=4))
    judge = Judge(needing(needed))
    smaller = pruned(mask, judge)
    assert places(smaller.mask) == needed
    assert cell_score({}, smaller.rows) == cell_score({}, judge.verdicts(needed))
    assert judge.first <= sparsifying.MOST_TRIED
    assert smaller.replies == judge.first * len(SOME) + judge.later * len(REST)


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 16), st.integers(0, 99), st.data())
def test_what_forced_rates_find_takes_one_confirmation(n: int, seed: int, data: st.DataObject) -> None:
    mask = additive(n, seed)
    needed = data.draw(st.sets(st.sampled_from(sorted(places(mask))), min_size=1, max_size=4))
    judge = Judge(needing(needed))
    smaller = pruned(mask, judge, read=reading(needed))
    assert places(smaller.mask) == needed
    assert judge.first == judge.later == int(len(needed) < n)


def test_where_replies_do_not_confirm_the_smallest_part_the_next_larger_one_is_judged() -> None:
    """Forced rates see three of the six entries that the replies need, all of which are strong ones."""
    mask = additive(16)
    strongest = strongest_first(mask, mask.rule.strength_LE(torch.ones(2)))
    needed = set(strongest[:6])
    judge = Judge(needing(needed))
    smaller = pruned(mask, judge, read=reading(set(strongest[:3])))
    assert needed < places(smaller.mask) < places(mask)
    assert smaller.rows == judge.verdicts(needed)
    assert (judge.first, judge.later) == (2, 2)


def test_a_part_that_is_not_confirmed_within_the_budget_stays_out() -> None:
    mask = additive(8)
    needed = set(sorted(places(mask))[:2])
    enough = 2 * N
    assert places(pruned(mask, Judge(needing(needed)), enough, reading(needed)).mask) == needed
    judge = Judge(needing(needed))
    smaller = pruned(mask, judge, enough - 1, reading(needed))
    assert places(smaller.mask) == places(mask)
    assert smaller.replies == judge.first == 0


@pytest.mark.parametrize("parts", [0, 1, 3, 9])
def test_replies_alone_guide_the_search_no_farther_than_the_budget(parts: int) -> None:
    mask = additive(16)
    needed = set(sorted(places(mask))[:2])
    smaller = pruned(mask, Judge(needing(needed)), 2 * N * parts)
    assert needed <= places(smaller.mask)
    assert smaller.replies <= 2 * N * parts
    assert (smaller.mask.entries < 16) == (parts > 0)


def test_a_part_that_fails_on_the_first_block_is_not_judged_on_the_others() -> None:
    mask = additive(2)
    judge = Judge(lambda moved: rows(1.0 if moved == places(mask) else 0.5))
    assert places(pruned(mask, judge).mask) == places(mask)
    assert (judge.first, judge.later) == (3, 0)


def test_what_is_kept_keeps_its_strength_and_says_of_how_many() -> None:
    mask = additive(12)
    smaller = pruned(mask, Judge(needing(set(sorted(places(mask))[:3])))).mask
    kept_LE = smaller.rule.entries_LE
    assert torch.equal(bias_of(smaller)[kept_LE], bias_of(mask)[kept_LE])
    assert smaller.provenance == {"method": "gradient", "kept": 3, "kept_of": 12}


def test_a_dense_mask_is_pruned_within_the_bound() -> None:
    mask = additive(80)
    needed = set(sorted(places(mask))[::20])
    judge = Judge(needing(needed))
    smaller = pruned(mask, judge).mask
    assert needed <= places(smaller)
    assert smaller.entries < 40
    assert judge.first <= sparsifying.MOST_TRIED


def test_a_mask_without_certain_effect_is_left_as_it_is_and_costs_nothing() -> None:
    mask = additive(9)
    smaller = pruned(mask, Judge(lambda moved: rows(0.525 if moved else 0.5)))
    assert smaller.mask is mask
    assert smaller.replies == 0


def test_a_loss_of_utility_stops_the_pruning() -> None:
    """Some entries repair what others break: without them the target rate is as high, but utility falls."""
    mask = additive(10)
    breaks, repairs = sorted(places(mask))[:1], sorted(places(mask))[1:2]

    def verdicts(moved: set[int]) -> list[Row]:
        broken = set(breaks) <= moved and not set(repairs) <= moved
        return rows(0.9 if set(breaks) <= moved else 0.5, 0.9 if broken else 1.0)

    smaller = pruned(mask, Judge(verdicts))
    assert places(smaller.mask) == {*breaks, *repairs}


def test_unread_replies_do_not_pass_for_noise() -> None:
    """Without its second entry the mask makes six replies unscored: that counts as a loss, not as noise."""
    mask = additive(2)
    full = places(mask)

    def verdicts(moved: set[int]) -> list[Row]:
        return rows(1.0) if moved == full else rows(1.0, unread=6 if moved else 30)

    smaller = pruned(mask, Judge(verdicts))
    assert places(smaller.mask) == full


@pytest.mark.parametrize(("lost", "left_out"), [(1, True), (2, False)])
def test_a_loss_within_one_standard_error_is_no_loss(lost: int, left_out: bool) -> None:
    """The mask's first expert causes nearly the whole effect, its second only the last few replies."""
    bias = torch.zeros(2, 40)
    bias[0, 0], bias[0, 1] = 2.0, 1.0

    def verdicts(moved: set[int]) -> list[Row]:
        return rows((0.9 if 0 in moved else 0.5) - (0 if 1 in moved else lost / N))

    assert places(pruned(Mask.from_bias(bias, SPEC), Judge(verdicts)).mask) == ({0} if left_out else {0, 1})


def test_a_loss_in_one_group_is_less_certain_than_one_in_several() -> None:
    """Two lost replies are more than one standard error, unless both are about one question."""
    bias = torch.zeros(2, 40)
    bias[0, 0], bias[0, 1] = 2.0, 1.0

    def verdicts(moved: set[int]) -> list[Row]:
        verdicts = rows((0.9 if 0 in moved else 0.5) - (0 if 1 in moved else 2 / N))
        last_hits = [row for row in verdicts if row["set"] == "target"][round(0.9 * N) - 2 : round(0.9 * N)]
        for row in last_hits:
            row["group_id"] = "one question"
        return verdicts

    assert places(pruned(Mask.from_bias(bias, SPEC), Judge(verdicts)).mask) == {0}


def test_an_override_mask_is_pruned_on_both_sides() -> None:
    on, off = torch.zeros(2, 40, dtype=torch.bool), torch.zeros(2, 40, dtype=torch.bool)
    on[0, :2], off[1, :4] = True, True
    mask = Mask.from_override(on, off, torch.linspace(-1, 1, 80).view(2, 40), SPEC, epsilon=0.02)
    smaller = pruned(mask, Judge(needing({1, 42}))).mask
    assert places(smaller) == {1, 42}
    assert override_of(smaller).activated_LE[0, 1]
    assert override_of(smaller).deactivated_LE[1, 2]
    assert smaller.rule.epsilon == 0.02


def test_a_restricted_mask_has_the_entries_asked_for_and_tells_of_them_alone() -> None:
    experts = [{"layer": 0, "expert": 3}, {"layer": 2, "expert": 3}]
    bias = torch.zeros(2, 40)
    bias[:, 3] = 1.0
    smaller = restricted(Mask.from_bias(bias, SPEC, {"experts": experts}), (43,))
    assert places(smaller) == {43}
    assert smaller.provenance == {"experts": experts[1:], "kept": 1, "kept_of": 2}
