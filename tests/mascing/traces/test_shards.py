import io
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.errors import DataError
from mascing.routers.spec import RouterSpec
from mascing.schemas.tables import TRACES
from mascing.schemas.trace_layout import Chosen, Keep
from mascing.traces import shards as trace_shards
from mascing.traces.shard_files import ShardFile
from mascing.traces.shards import decode, encode
from mascing.traces.trace_set import SampleTrace, TraceSet

L, E, K = 3, 5, 2
SPEC = RouterSpec("olmoe", (0, 1, 2), E, K, "softmax-topk")


def sample(name: str = "a", question: int = 2, prompt: int = 1, label: int = 1, seed: int = 0) -> SampleTrace:
    z_TLE = torch.randn(question + prompt, L, E, generator=torch.Generator().manual_seed(seed)) * 3
    regions = torch.tensor([0] * question + [1] * prompt, dtype=torch.uint8)
    selected = torch.rand(z_TLE.shape, generator=torch.Generator().manual_seed(seed)).argsort(-1)[..., :K]
    return SampleTrace(name, f"group-{name}", label, z_TLE.half(), regions, selected.to(torch.uint8))


def three() -> list[SampleTrace]:
    return [sample("a", 2, 1, 1, 0), sample("b", 4, 3, 0, 1), sample("c", 1, 2, 1, 2)]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=8),
    cut=st.integers(0, 8),
    group_bytes=st.sampled_from([1, 200, 2**20]),
)
def test_what_is_decoded_is_what_was_encoded(sizes: list[tuple[int, int]], cut: int, group_bytes: int) -> None:
    rows = [sample(f"s{i}", question, prompt, i % 2, i) for i, (question, prompt) in enumerate(sizes)]
    halves = [part for part in (rows[:cut], rows[cut:]) if part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_shards, "ROW_GROUP_BYTES", group_bytes)
        back = decode(encode(part, SPEC) for part in halves)
    assert torch.equal(back.z, torch.cat([row.z for row in rows]))
    assert torch.equal(back.selected, torch.cat([row.selected for row in rows]))
    assert torch.equal(back.regions, torch.cat([row.regions for row in rows]))
    assert back.offsets.tolist() == np.cumsum([0] + [sum(size) for size in sizes]).tolist()
    assert (back.labels.tolist(), back.ids, back.groups) == (
        [row.label for row in rows],
        [row.conversation_id for row in rows],
        [row.group_id for row in rows],
    )
    assert (back.z.dtype, back.labels.dtype, back.offsets.dtype) == (torch.float16, torch.int64, torch.int64)
    assert back.z.is_contiguous()


def layers_first(values: torch.Tensor) -> torch.Tensor:
    """The same [T, L, X] in memory layer by layer, as recording leaves it."""
    return values.permute(1, 0, 2).contiguous().permute(1, 0, 2)


def test_equal_samples_give_equal_bytes_whatever_their_strides() -> None:
    rows = three()
    strided = [replace(row, z=layers_first(row.z), selected=layers_first(row.selected)) for row in rows]
    assert not strided[1].z.is_contiguous()
    assert not strided[1].selected.is_contiguous()
    assert encode(strided, SPEC) == encode(rows, SPEC)


def test_layout_is_one_plain_column_of_bytes_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_shards, "ROW_GROUP_BYTES", 7 * L * E * 2)
    file = pq.ParquetFile(io.BytesIO(encode(three(), SPEC)))
    assert {key: file.schema_arrow.metadata[key] for key in (b"dtype", b"n_layers", b"n_experts", b"top_k")} == {
        b"dtype": b"float16",
        b"n_layers": b"3",
        b"n_experts": b"5",
        b"top_k": b"2",
    }
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [3, 7, 3]
    columns = {groups[0].column(i).path_in_schema: groups[0].column(i) for i in range(groups[0].num_columns)}
    for layer in range(L):
        column = columns[f"z_{layer:03d}"]
        assert (column.compression, column.physical_type) == ("ZSTD", "FIXED_LEN_BYTE_ARRAY")
        assert not any("DICTIONARY" in encoding for encoding in column.encodings)


def test_polars_reads_a_layer_or_the_selections_without_the_others() -> None:
    rows = three()
    selected = pl.read_parquet(io.BytesIO(encode(rows, SPEC)), columns=["selected"])["selected"]
    ids_TLK = np.stack([np.frombuffer(cell, "u1").reshape(L, K) for cell in selected.to_list()])
    assert np.array_equal(ids_TLK, torch.cat([row.selected for row in rows]).numpy())
    column = pl.read_parquet(io.BytesIO(encode(rows, SPEC)), columns=["z_001"])["z_001"]
    z_TE = np.stack([np.frombuffer(cell, "<f2") for cell in column.to_list()])
    assert np.array_equal(z_TE, torch.cat([row.z[:, 1] for row in rows]).numpy())


@pytest.mark.parametrize("start", range(4))
def test_a_flipped_byte_is_noticed_or_harmless(start: int) -> None:
    """Nothing that is read depends on the others: page headers and the footer repeat themselves."""
    whole = encode([sample("a", 40, 2)], SPEC)
    wanted, noticed = decode([whole]), 0
    for place in range(start, len(whole), 41):
        data = bytearray(whole)
        data[place] ^= 0xFF
        try:
            read = decode([bytes(data)])
        except DataError:
            noticed += 1
        else:
            assert all(map(torch.equal, tensors(read), tensors(wanted)))
            assert (read.ids, read.groups) == (wanted.ids, wanted.groups)
    assert noticed > 0.9 * len(whole) / 41


def tensors(traces: TraceSet) -> list[torch.Tensor]:
    return [traces.z, traces.selected, traces.labels, traces.regions, traces.offsets]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all"])
def test_what_is_no_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="shard 1 is damaged"):
        decode([encode(three(), SPEC), data])


def test_a_parquet_file_of_something_else_is_refused() -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(buffer)
    with pytest.raises(DataError, match="not a trace shard"):
        decode([buffer.getvalue()])


def test_shards_of_different_models_do_not_mix() -> None:
    other = RouterSpec("olmoe", (0, 1), E, 2, "softmax-topk")
    narrow = replace(sample(), z=sample().z[:, :2], selected=sample().selected[:, :2])
    with pytest.raises(DataError, match="different models"):
        decode([encode(three(), SPEC), encode([narrow], other)])


def test_traces_of_an_earlier_version_are_to_be_harvested_again() -> None:
    table = pq.read_table(io.BytesIO(encode(three(), SPEC)))
    earlier = ("dtype", "n_layers", "n_experts", "top_k")
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({name: table.schema.metadata[name.encode()] for name in earlier}), buffer
    )
    with pytest.raises(DataError, match=r"which layers and spans they hold.*harvest again"):
        decode([buffer.getvalue()])


def test_ids_of_many_experts_take_two_bytes() -> None:
    wide = RouterSpec("made-up", (0,), 300, K, "softmax-topk")
    z_TLE = torch.randn(3, 1, 300, generator=torch.Generator().manual_seed(0)).half()
    selected = torch.tensor([[299, 0], [7, 256], [300, 1]], dtype=torch.int16)[:, None]
    row = SampleTrace("a", "g", 1, z_TLE, torch.zeros(3, dtype=torch.uint8), selected)
    assert torch.equal(decode([encode([row], wide)]).selected, selected)
    with pytest.raises(DataError, match=r"uint8 where torch\.int16"):
        encode([replace(row, selected=selected.to(torch.uint8))], wide)


def test_no_shards_are_no_traces() -> None:
    with pytest.raises(DataError, match="no traces"):
        decode([])


def changed(**changes: Any) -> SampleTrace:
    return replace(sample("bad", 6, 2), **changes)


def with_layer(values_TE: torch.Tensor) -> SampleTrace:
    z_TLE = sample("bad", 6, 2).z.clone()
    z_TLE[:, 1] = values_TE.half()
    return changed(z=z_TLE)


def scores() -> torch.Tensor:
    return torch.randn(8, E, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (with_layer(scores().softmax(1)), "layer 1.*probabilities"),
        (with_layer(scores().sigmoid()), "layer 1.*probabilities"),
        (with_layer(scores().log_softmax(1)), "layer 1.*log-probabilities"),
        (with_layer(torch.zeros(8, E)), "layer 1.*all router logits of a token are equal"),
        (with_layer(torch.arange(8.0)[:, None].expand(8, E)), "layer 1.*all router logits of a token are equal"),
        (with_layer(scores().index_fill(0, torch.tensor([3]), float("nan"))), "layer 1.*NaN or infinite"),
        (with_layer(scores().index_fill(1, torch.tensor([2]), float("-inf"))), "layer 1.*NaN or infinite"),
        (changed(z=sample().z.float()), "'bad'.*float32 where float16"),
        (changed(z=sample("bad", 6, 2).z[:, :2]), "'bad'.*3 layers x 5 experts"),
        (changed(z=sample("bad", 6, 2).z[..., :4]), "'bad'.*3 layers x 5 experts"),
        (changed(z=sample("bad", 6, 2).z[:0], regions=torch.zeros(0)), "'bad'.*0 tokens"),
        (changed(selected=sample("bad", 6, 1).selected), "'bad'.*each of its 8 tokens selects 2 experts in 3 layers"),
        (changed(selected=sample("bad", 6, 2).selected[..., :1]), "'bad'.*selects 2 experts"),
        (changed(selected=sample("bad", 6, 2).selected.long()), "'bad'.*int64 where torch.uint8"),
        (changed(regions=torch.zeros(3, dtype=torch.uint8)), "'bad'.*8 tokens with 3 regions"),
        (changed(label=2), "'bad'.*label 2"),
    ],
)
def test_what_cannot_be_raw_logits_is_refused(row: SampleTrace, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode([row], SPEC)


@pytest.mark.parametrize("keep", ["logits", "selected", "counts"])
def test_a_shard_holds_what_was_chosen_and_says_what(keep: Keep) -> None:
    chosen = Chosen(layers=(0, 2), spans=("question", "prompt"), keep=keep)
    rows = [
        replace(row, z=row.z[:, [0, 2]] if keep == "logits" else row.z[:, :0], selected=row.selected[:, [0, 2]])
        for row in three()
    ]
    rows[0] = replace(rows[0], label=None)
    data = encode(rows, SPEC, "a checkpoint", chosen)
    back = decode([data])
    assert back.labels.tolist() == [-1, 0, 1]
    assert back.offsets.tolist() == [0, 3, 10, 13]
    assert torch.equal(back.z, torch.cat([row.z for row in rows]))
    ids = torch.cat([row.selected for row in rows])
    assert torch.equal(back.selected, ids if keep != "counts" else ids[:, :0])
    metadata = pl.read_parquet_metadata(io.BytesIO(data))
    said = {name: metadata[name] for name in ("checkpoint", "family", "n_layers", "layers", "spans", "keeps")}
    assert said == {
        "checkpoint": "a checkpoint",
        "family": "olmoe",
        "n_layers": "3",
        "layers": "[0, 2]",
        "spans": '["question", "prompt"]',
        "keeps": keep,
    }
    table = pl.read_parquet(io.BytesIO(data))
    assert table["label"].to_list() == [None] * 3 + [0] * 7 + [1] * 3
    assert table["position"].to_list() == [*range(3), *range(7), *range(3)]
    kept = {"logits": ["selected", "z_000", "z_002"], "selected": ["selected"], "counts": []}[keep]
    assert table.columns == [*TRACES.names, *kept]


def test_a_shard_without_logits_is_a_fraction_and_one_of_counts_nearly_nothing() -> None:
    spec = RouterSpec("made-up", tuple(range(8)), 64, 8, "softmax-topk")
    draw = torch.Generator().manual_seed(0)
    z_TLE = torch.randn(400, 8, 64, generator=draw).half()
    row = SampleTrace("a", "g", None, z_TLE, torch.zeros(400, dtype=torch.uint8), z_TLE.topk(8)[1].to(torch.uint8))
    sizes = [
        len(encode([row if keep == "logits" else replace(row, z=z_TLE[:, :0])], spec, chosen=Chosen(keep=keep)))
        for keep in ("logits", "selected", "counts")
    ]
    assert sizes[1] < sizes[0] / 10
    assert sizes[2] < sizes[1] / 2


def test_parts_of_the_routing_do_not_mix_with_the_whole() -> None:
    part = encode([replace(sample(), z=sample().z[:, :2], selected=sample().selected[:, :2])], SPEC, chosen=_FIRST_TWO)
    with pytest.raises(DataError, match=r"or parts of them: .*logits of 3 layers and .*logits of 2 layers"):
        decode([encode(three(), SPEC), part])


_FIRST_TWO = Chosen(layers=(0, 1))


@pytest.mark.parametrize(
    ("row", "chosen", "message"),
    [
        (changed(), Chosen(spans=("question",)), "'bad'.*its tokens are not those of question"),
        (changed(), _FIRST_TWO, "'bad'.*logits of 2 layers x 5 experts are kept"),
        (changed(), Chosen(keep="counts"), "'bad'.*counts of 3 layers x 5 experts are kept"),
        (changed(regions=torch.tensor([1] * 4 + [0] * 4, dtype=torch.uint8)), Chosen(), "its tokens are not those of"),
        (changed(selected=sample("bad", 6, 2).selected + 5), Chosen(), "selected expert 9, but the model has 5"),
        (changed(), Chosen(layers=(1, 9)), "no MoE layer 9"),
    ],
)
def test_what_was_not_chosen_is_refused(row: SampleTrace, chosen: Chosen, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode([row], SPEC, chosen=chosen)


def test_a_shard_whose_rows_all_failed_keeps_their_reasons_and_holds_no_traces() -> None:
    shard = encode([], SPEC, notes={"failed": "all of them"})
    file = ShardFile(shard, "a shard")
    assert (file.metadata["failed"], file.statistics.tokens, file.rows) == ("all of them", 0, [])
    with pytest.raises(DataError, match="no traces"):
        decode([shard])


def together() -> TraceSet:
    return decode([encode(three(), SPEC)])


def test_span_keeps_the_question_alone() -> None:
    rows, everything_recorded = three(), together()
    questions = everything_recorded.span("question")
    assert torch.equal(questions.z, torch.cat([row.z[row.regions == 0] for row in rows]))
    assert torch.equal(questions.selected, torch.cat([row.selected[row.regions == 0] for row in rows]))
    assert questions.offsets.tolist() == [0, 2, 6, 7]
    assert set(questions.regions.tolist()) == {0}
    assert questions.ids == everything_recorded.ids
    assert torch.equal(everything_recorded.span("question+prompt").z, everything_recorded.z)


def with_replies(lengths: list[int]) -> TraceSet:
    """``three`` with reply tokens after each sample."""
    rows = []
    for row, length in zip(three(), lengths, strict=True):
        reply_TLE = torch.full((length, L, E), 100.0).half()
        regions = torch.cat([row.regions, torch.full((length,), 2, dtype=torch.uint8)])
        selected = torch.cat([row.selected, torch.zeros(length, L, K, dtype=torch.uint8)])
        rows.append(replace(row, z=torch.cat([row.z, reply_TLE]), regions=regions, selected=selected))
    return decode([encode(rows, SPEC)])


def test_replies_change_neither_the_other_spans_nor_sigma() -> None:
    without_replies, replied = together(), with_replies([2, 1, 3])
    for span in ("question", "question+prompt"):
        assert torch.equal(replied.span(span).z, without_replies.span(span).z)
        assert torch.equal(replied.span(span).offsets, without_replies.span(span).offsets)
    assert torch.equal(replied.sigma(), without_replies.sigma())
    assert replied.span("reply").offsets.tolist() == [0, 2, 3, 6]
    assert set(replied.span("reply").z.flatten().tolist()) == {100.0}


def test_a_span_that_a_sample_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 3 traces have no token of the span 'reply'.*'b'.*`wanted`"):
        with_replies([2, 0, 3]).span("reply")


def test_sigma_is_over_tokens_and_experts_of_a_layer() -> None:
    z = together().z.double().numpy()
    assert np.allclose(together().sigma().numpy(), [z[:, layer].std() for layer in range(L)], rtol=1e-6)
    assert together().sigma().dtype == torch.float32


def test_subset_takes_samples_in_the_order_asked() -> None:
    rows, part = three(), together().subset([2, 0])
    assert torch.equal(part.z, torch.cat([rows[2].z, rows[0].z]))
    assert torch.equal(part.selected, torch.cat([rows[2].selected, rows[0].selected]))
    assert (part.ids, part.groups, part.labels.tolist()) == (["c", "a"], ["group-c", "group-a"], [1, 1])
    assert part.offsets.tolist() == [0, 3, 6]
    assert len(together().subset([])) == 0


def test_padded_puts_zeros_after_each_sample() -> None:
    rows = three()
    z_NTLE, mask_NT = together().padded(torch.tensor([1, 0]))
    assert z_NTLE.shape == (2, 7, L, E)
    assert z_NTLE.dtype == torch.float32
    assert mask_NT.sum(1).tolist() == [7, 3]
    assert torch.equal(z_NTLE[0], rows[1].z.float())
    assert torch.equal(z_NTLE[1, :3], rows[0].z.float())
    assert not z_NTLE[1, 3:].any()
