"""Selection counts over paired traces, against their definitions counted token by token."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.circuits.steermoe.risk_difference import Selections, count_selections
from mascing.conversations.chat import Prompt
from mascing.errors import DataError
from mascing.routers.spec import inspect_routers
from mascing.schemas.settings.method_settings import Pairs
from mascing.traces.batch_recording import record_prompts
from mascing.traces.trace_set import Traces, TraceSet
from tests.mascing.made_traces import raw_top_k, traces
from tests.mascing.routers.families.family_models import build
from tests.mascing.routers.families.selections import captured


@st.composite
def trace_sets(draw: st.DrawFn) -> TraceSet:
    """Traces of both labels in a few groups, at least one pair; the selections have nothing to do with the logits."""
    n_layers, n_experts = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    top_k = draw(st.integers(1, n_experts))
    about = [("g", 0), ("g", 1), *draw(st.lists(st.tuples(st.sampled_from("ghi"), st.integers(0, 1)), max_size=5))]
    groups, labels = [group for group, _ in about], [label for _, label in about]
    lengths = draw(st.lists(st.integers(1, 4), min_size=len(labels), max_size=len(labels)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    z_TLE = torch.randn(sum(lengths), n_layers, n_experts, generator=generator).half()
    # An id of n_experts stands for no expert.
    ids = torch.rand(sum(lengths), n_layers, n_experts + 1, generator=generator).argsort(-1)
    selected = ids[..., :top_k].to(torch.uint8)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    regions = torch.zeros(sum(lengths), dtype=torch.uint8)
    names = [str(number) for number in range(len(labels))]
    return TraceSet(z_TLE, offsets, torch.tensor(labels), regions, names, groups, selected)


def partners(data: TraceSet) -> set[int]:
    """The samples that have a partner: walk through them, and pair each with the first free one of its group."""
    free: list[int] = []
    paired: set[int] = set()
    for index, label in enumerate(data.labels.tolist()):
        for other in free:
            if data.groups[other] == data.groups[index] and data.labels[other] != label:
                paired |= {other, index}
                free.remove(other)
                break
        else:
            free.append(index)
    return paired


def naive_counts(data: TraceSet, samples: set[int], place: tuple[int, int]) -> tuple[list[int], list[int]]:
    """A and N of one expert on both sides, negative first."""
    active, tokens = [0, 0], [0, 0]
    for sample in samples:
        label = int(data.labels[sample])
        for token in range(int(data.offsets[sample]), int(data.offsets[sample + 1])):
            tokens[label] += 1
            active[label] += place[1] in data.selected[token, place[0]].tolist()
    return active, tokens


@settings(deadline=None, max_examples=60)
@given(trace_sets(), st.sampled_from(["matched", "group"]))
def test_scores_are_their_definitions(data: TraceSet, pairs: Pairs) -> None:
    samples = partners(data) if pairs == "group" else set(range(len(data)))
    counted = count_selections(data, pairs)
    assert (counted.samples, counted.left_out) == (len(samples), len(data) - len(samples))
    difference_LE, ratio_LE = counted.risk_difference(), counted.log_odds_ratio()
    for place in torch.ones(difference_LE.shape).nonzero().tolist():
        (a2, a1), (n2, n1) = naive_counts(data, samples, tuple(place))
        odds = ((a1 + 0.5) / (n1 - a1 + 0.5)) / ((a2 + 0.5) / (n2 - a2 + 0.5))
        assert difference_LE[tuple(place)].item() == pytest.approx(a1 / n1 - a2 / n2, abs=1e-6)
        assert ratio_LE[tuple(place)].item() == pytest.approx(log(odds), abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(trace_sets())
def test_swapping_the_sides_turns_the_scores_around(data: TraceSet) -> None:
    swapped = replace(data, labels=1 - data.labels)
    before, after = (count_selections(samples) for samples in (data, swapped))
    assert torch.equal(after.risk_difference(), -before.risk_difference())
    assert torch.allclose(after.log_odds_ratio(), -before.log_odds_ratio(), atol=1e-6)


@dataclass
class OneByOne:
    """Traces that come one at a time, so that the two of a pair are never in one part."""

    data: TraceSet

    def parts(self, order: torch.Generator | None = None) -> Iterator[TraceSet]:
        del order
        yield from (self.data.subset([index]) for index in range(len(self.data)))

    def without_logits(self) -> "OneByOne":
        return OneByOne(self.data.without_logits())


@settings(deadline=None, max_examples=20)
@given(trace_sets(), st.sampled_from(["matched", "group"]))
def test_parts_count_as_the_whole(data: TraceSet, pairs: Pairs) -> None:
    one_by_one = cast(Traces, OneByOne(data))
    assert equal(count_selections(one_by_one, pairs), count_selections(data, pairs))


def test_a_trace_without_partner_changes_nothing() -> None:
    """A question that only has negative conversations would otherwise look like a routing difference."""
    pair = TraceSet(
        torch.randn(4, 2, 4).half(),
        torch.tensor([0, 2, 4]),
        torch.tensor([1, 0]),
        torch.zeros(4),
        ["a", "b"],
        ["g", "g"],
        torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3]], dtype=torch.uint8)[:, None].expand(4, 2, 2),
    )
    lone = TraceSet(
        torch.cat([pair.z, torch.randn(3, 2, 4).half()]),
        torch.tensor([0, 2, 4, 7]),
        torch.tensor([1, 0, 0]),
        torch.zeros(7),
        ["a", "b", "c"],
        ["g", "g", "h"],
        torch.cat([pair.selected, pair.selected[:3]]),
    )
    assert equal(count_selections(lone, "group"), count_selections(pair))
    assert count_selections(lone, "group").left_out == 1
    assert not equal(count_selections(lone), count_selections(pair))


def test_traces_without_any_pair_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"methods\.steermoe\.pairs: matched"):
        count_selections(traces(6), "group")


@pytest.mark.parametrize(("indices", "missing"), [([0, 2], "positive"), ([1, 3], "negative")])
def test_one_class_alone_is_refused(indices: list[int], missing: str) -> None:
    with pytest.raises(DataError, match=f"no {missing} traces"):
        count_selections(traces(6).subset(indices))


def test_counts_are_of_what_a_router_with_a_correction_selects() -> None:
    """Counting the raw top-k would miss much of what the correction brings about and rank other experts first."""
    model = build("deepseek_v3")
    spec = inspect_routers(model)
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, 64, (12,), generator=draw).tolist() for _ in range(12)]
    prompts = [Prompt(str(index), tuple(row), (0, 12), (12, 12)) for index, row in enumerate(rows)]
    with captured(model) as layers:
        recorded = record_prompts(model, prompts, 12)
    names = [prompt.conversation_id for prompt in prompts]
    data = TraceSet(
        torch.cat([routing.z for routing in recorded]),
        torch.arange(0, 145, 12),
        torch.arange(12) % 2,
        torch.zeros(144, dtype=torch.uint8),
        names,
        names,
        torch.cat([routing.selected for routing in recorded]),
    )
    used_SLE = torch.zeros(2, spec.n_layers, spec.n_experts, dtype=torch.long)
    for layer, of_layer in enumerate(layers):
        for token, selection in enumerate(of_layer.selections[-144:]):  # the first are of the watches' proofs
            used_SLE[token // 12 % 2, layer, list(selection)] += 1
    counted = count_selections(data)
    assert torch.equal(counted.selected_SLE, used_SLE)
    raw = count_selections(replace(data, selected=raw_top_k(data.z)))
    assert (raw.selected_SLE - used_SLE).abs().sum() > 0.2 * used_SLE.sum()
    strongest, thought_strongest = (of.risk_difference().flatten().topk(3).indices.tolist() for of in (counted, raw))
    assert set(strongest) != set(thought_strongest)


def equal(a: Selections, b: Selections) -> bool:
    return torch.equal(a.selected_SLE, b.selected_SLE) and torch.equal(a.tokens_SL, b.tokens_SL)
