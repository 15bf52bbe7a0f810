import base64
from dataclasses import replace

import pytest
import torch

from mascing.circuits.steermoe.risk_difference import Selections, count_selections
from mascing.errors import DataError
from mascing.schemas.settings.method_settings import Span
from mascing.schemas.trace_layout import Chosen, Keep
from mascing.traces import shards as trace_shards
from mascing.traces.shard_files import ShardFile
from mascing.traces.shard_statistics import TraceStatistics
from mascing.traces.shards import encode
from mascing.traces.trace_set import TraceSet, joined, samples_of
from tests.mascing.made_traces import SPEC, traces


def with_replies(made: TraceSet) -> TraceSet:
    """The last token of every sample is of its reply, and far from the others."""
    last = made.offsets[1:] - 1
    regions, z_TLE = made.regions.clone(), made.z.clone()
    regions[last], z_TLE[last] = 2, 100.0 + made.z[last]
    return replace(made, z=z_TLE, regions=regions)


def footer(made: TraceSet, chosen: Chosen | None = None) -> TraceStatistics:
    return ShardFile(encode(list(samples_of(made)), SPEC, chosen=chosen or Chosen()), "shard").statistics


@pytest.fixture
def made() -> TraceSet:
    return with_replies(traces(40))


def test_shards_add_up_to_the_spread_of_all_traces(made: TraceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_shards, "ROW_GROUP_BYTES", 1000)
    parts = [made.subset(range(start, end)) for start, end in ((0, 3), (3, 30), (30, 40))]
    first, *others = [footer(part) for part in parts]
    total = sum(others, start=first)
    assert torch.allclose(total.sigma(), made.sigma(), rtol=1e-6)
    assert total.sigma().dtype == torch.float32
    assert total.tokens == len(made.z)
    assert total.samples_C.tolist() == [20, 20, 0]


@pytest.mark.parametrize("scale", [1e-2, 1.0, 300.0])
def test_a_spread_about_a_mean_far_from_zero_is_exact(scale: float) -> None:
    made = traces(10)
    shifted = replace(made, z=(made.z * scale - 20 * scale).half())
    assert torch.allclose(footer(shifted).sigma(), shifted.sigma(), rtol=1e-6)


@pytest.mark.parametrize("span", ["question", "question+prompt", "reply"])
@pytest.mark.parametrize("keep", ["logits", "counts"])
def test_the_risk_difference_of_the_counts_is_that_of_the_traces(made: TraceSet, span: Span, keep: Keep) -> None:
    chosen = Chosen(keep=keep)
    counted = footer(made if keep == "logits" else made.without_logits(), chosen)
    selected_CLE, tokens_C = counted.selections(span)
    stored = Selections(selected_CLE[:2], tokens_C[:2, None].expand(2, SPEC.n_layers))
    wanted = count_selections(made.span(span))
    assert torch.equal(stored.selected_SLE, wanted.selected_SLE)
    assert torch.equal(stored.risk_difference(), wanted.risk_difference())


def test_unlabelled_traces_are_a_class_of_their_own(made: TraceSet) -> None:
    unlabelled = made.relabelled(dict.fromkeys(made.ids, -1))
    counted = footer(joined([unlabelled, made.subset([0])]))
    assert counted.samples_C.tolist() == [1, 0, 40]
    assert int(counted.tokens_CS[2].sum()) == len(made.z)
    assert counted.selected_CSLE[2].sum(dim=(0, 2)).tolist() == [len(made.z) * SPEC.top_k] * SPEC.n_layers


def test_an_id_that_stands_for_no_expert_is_not_counted(made: TraceSet) -> None:
    nobody = replace(made, selected=torch.full_like(made.selected, SPEC.n_experts))
    assert not footer(nobody).selected_CSLE.any()


def test_without_logits_before_the_reply_there_is_no_sigma(made: TraceSet) -> None:
    for statistics in (
        footer(made.without_logits(), Chosen(keep="selected")),
        footer(made.span("reply"), Chosen(spans=("reply",))),
    ):
        with pytest.raises(DataError, match="spread of logits is not known"):
            statistics.sigma()


def test_statistics_of_other_experts_do_not_add_up(made: TraceSet) -> None:
    part = replace(made, z=made.z[:, :2], selected=made.selected[:, :2])
    with pytest.raises(DataError, match="their layers or experts are not the same"):
        footer(made) + footer(part, Chosen(layers=(0, 1)))


@pytest.mark.parametrize("text", ["", "%%%", base64.b64encode(b"not deflated").decode()])
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="statistics cannot be read"):
        TraceStatistics.from_text(text)
