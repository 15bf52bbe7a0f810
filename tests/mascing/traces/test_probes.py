"""Probe conversations: what they count, which are drawn, and that they survive being stored."""

import pytest
import torch

from mascing.errors import DataError
from mascing.schemas.facts import RouterFacts
from mascing.traces.probes import Probes
from mascing.traces.trace_set import SampleTrace, TraceSet, offsets

SPEC = RouterFacts(family="olmoe", layer_ids=(1, 3), n_experts=4, top_k=2, scoring="softmax", fingerprint="f")


def sample(name: str, experts: list[list[int]], regions: list[int]) -> SampleTrace:
    """A token for each row of ``experts``, which both layers select."""
    selected = torch.tensor(experts, dtype=torch.uint8)[:, None].expand(-1, 2, -1)
    z = torch.zeros(len(experts), 2, 4, dtype=torch.float16)
    return SampleTrace(name, f"group of {name}", None, z, torch.tensor(regions, dtype=torch.uint8), selected)


def test_selections_before_the_reply_are_counted_and_places_of_no_expert_are_not() -> None:
    probes = Probes.of([sample("b", [[0, 1], [0, 4], [3, 2]], [0, 1, 2]), sample("a", [[2, 3]], [0])], 4)
    assert (probes.ids, probes.groups) == (("a", "b"), ("group of a", "group of b"))
    assert probes.tokens_P.tolist() == [1, 2]
    assert probes.selected_PLE.tolist() == [[[0, 0, 1, 1]] * 2, [[2, 1, 0, 0]] * 2]
    rates = probes.rates(SPEC)
    assert (rates.conversations, rates.tokens, rates.layers) == (2, 3, (1, 3))
    assert rates.rates[1] == (0.66667, 0.33333, 0.33333, 0.33333)


def test_they_are_read_as_they_were_stored_and_in_any_order() -> None:
    probes = Probes.of([sample(name, [[0, 1]], [0]) for name in "cab"], 4)
    again = Probes.from_bytes(probes.to_bytes()).at(["c", "a"])
    assert (again.ids, again.groups) == (("c", "a"), ("group of c", "group of a"))
    assert again.selected_PLE.shape == (2, 2, 4)
    with pytest.raises(DataError, match="cannot be read"):
        Probes.from_bytes(b"damaged")
    with pytest.raises(DataError, match="no traces"):
        Probes.of([], 4)


def test_the_same_conversations_are_drawn_whatever_their_order() -> None:
    samples = [sample(f"c{number}", [[0, 1]], [0]) for number in range(40)]
    drawn = [Probes.drawn(traces(order), 4, most=8).ids for order in (samples, samples[::-1])]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 8


def traces(samples: list[SampleTrace]) -> TraceSet:
    return TraceSet(
        z=torch.cat([each.z for each in samples]),
        offsets=offsets([len(each.z) for each in samples]),
        labels=torch.full((len(samples),), -1),
        regions=torch.cat([each.regions for each in samples]),
        ids=[each.conversation_id for each in samples],
        groups=[each.group_id for each in samples],
        selected=torch.cat([each.selected for each in samples]),
    )
