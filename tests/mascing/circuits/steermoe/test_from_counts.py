"""Masks from counts that somebody else made."""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save

from mascing.circuits.steermoe.count_files import GivenCounts, read_counts
from mascing.circuits.steermoe.from_counts import counts_card, doubt, mask_from_counts
from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.circuits.steermoe.search import candidates
from mascing.errors import DataError
from mascing.routers.spec import RouterSpec
from mascing.schemas.settings.method_settings import ExpertScore, SteerMoEConfig
from tests.mascing.made_traces import SPEC, traces

SMALL = RouterSpec("olmoe", (1, 3), 3, 2, "softmax")
"""Two MoE layers, at depth 1 and 3, of three experts."""

COUNTS = [[10, 6, 4], [0, 10, 10]]
TOKENS = [10, 10]
Row = dict[str, Any]


def rows(counts: Sequence[Sequence[float]] = COUNTS, tokens: Sequence[int] = TOKENS) -> list[Row]:
    return [
        {"layer": depth, "expert": expert, "count": count, "tokens": tokens[index]}
        for index, depth in enumerate(SMALL.layer_ids)
        for expert, count in enumerate(counts[index])
    ]


def table(kind: str, given: list[Row]) -> bytes:
    frame, buffer = pl.DataFrame(given), io.BytesIO()
    match kind:
        case "csv":
            frame.write_csv(buffer)
        case "tsv":
            frame.write_csv(buffer, separator="\t")
        case "parquet":
            frame.write_parquet(buffer)
        case "jsonl":
            frame.write_ndjson(buffer)
        case _:
            return json.dumps(given, indent=1).encode()
    return buffer.getvalue()


def arrays(kind: str, counts: Any = COUNTS, tokens: Any = TOKENS) -> bytes:
    if kind == "safetensors":
        return bytes(save({"counts": np.array(counts), "tokens": np.array(tokens)}))
    buffer = io.BytesIO()
    np.savez(buffer, counts=np.array(counts), tokens=np.array(tokens))
    return buffer.getvalue()


def given(counts: Sequence[Sequence[int]], tokens: Sequence[int] = TOKENS, name: str = "c.csv") -> GivenCounts:
    return read_counts(name, table("csv", rows(counts, tokens))).of(SMALL)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "json", "npz", "safetensors"])
def test_each_layout_gives_the_same_counts(kind: str) -> None:
    data = arrays(kind) if kind in ("npz", "safetensors") else table(kind, rows())
    counts = read_counts(f"a/c.{kind}", data).of(SMALL)
    assert counts.selected_LE.tolist() == COUNTS
    assert counts.tokens_L.tolist() == TOKENS
    assert counts.origin["file"] == f"c.{kind}"


def test_one_number_of_tokens_holds_for_all_layers_and_whole_floats_are_counts() -> None:
    counts = read_counts("c.npz", arrays("npz", np.array(COUNTS, dtype=np.float32), 10)).of(SMALL)
    assert (counts.selected_LE.tolist(), counts.tokens_L.tolist()) == (COUNTS, TOKENS)


def test_the_order_of_rows_and_further_columns_do_not_matter() -> None:
    mixed = [{"note": "x", **row} for row in reversed(rows())]
    assert read_counts("c.csv", table("csv", mixed)).of(SMALL).selected_LE.tolist() == COUNTS


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda every: every[:-1], "lacks 1 of 6 experts, first layer 3, expert 2"),
        (lambda every: every[:3], "lacks 3 of 6 experts, first layer 3, expert 0"),
        (lambda every: [*every, every[0]], "row 7: layer 1, expert 0 stands there twice"),
        (lambda every: [*every, {**every[0], "layer": 2}], "layer 2, expert 0, but the model has 2 MoE layers"),
        (lambda every: [*every, {**every[0], "expert": 3}], "layer 1, expert 3, but the model has"),
        (lambda every: [{**every[0], "count": 11}, *every[1:]], "row 1: count is 11, more than the layer's 10 tokens"),
        (lambda every: [{**every[0], "count": -1}, *every[1:]], "not a number of tokens"),
        (lambda every: [{**row, "count": 0.4} for row in every], "rates are no counts"),
        (lambda every: [{**row, "count": "many"} for row in every], "count is 'many'"),
        (lambda every: [{**every[0], "tokens": 12}, *every[1:]], "layer 1 has 10 tokens, but 12 in an earlier row"),
        (lambda every: [], "has no rows"),
        (lambda every: [{"layer": 1, "expert": 0, "n": 3}], "row 1 has no count: a table of counts has the columns"),
    ],
)
def test_a_table_that_is_wrong_is_refused_at_its_row(change: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=r"c\.csv") as refusal:
        read_counts("c.csv", table("csv", change(rows()))).of(SMALL)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("c.npz", arrays("npz", [[1, 1]], 10), r"shape \[1, 2\], but the model has 2 MoE layers \(at depth 1, 3\)"),
        ("c.npz", arrays("npz", COUNTS, [1, 2, 3]), "they need"),
        ("c.npz", arrays("npz", [[0.5, 0, 0], [0, 0, 0]]), r"counts\[0, 0\] is 0.5"),
        ("c.npz", arrays("npz", [[0, 0, 0], [0, float("nan"), 0]]), r"counts\[1, 1\] is nan"),
        ("c.npz", arrays("npz", [[0, 11, 0], [0, 0, 0]]), r"counts\[0, 1\] is 11, more than the layer's 10 tokens"),
        ("c.npz", arrays("npz", [["a"]]), "not numbers"),
        ("c.npz", arrays("npz", COUNTS)[:-30], "cannot be read as arrays"),
        ("c.npz", arrays("npz", COUNTS).replace(b"NUMPY", b"NUMPI"), "cannot be read as arrays"),
        ("c.jsonl", b'{"layer": 1, "expert": 0, "count": 1' + b"0" * 400 + b', "tokens": 5}', "not a number of tokens"),
        ("c.npz", arrays("npz", np.array([[None]], dtype=object)), "cannot be read as arrays"),
        ("c.safetensors", save({"counts": np.zeros((2, 3))}), "no array tokens"),
        ("c.safetensors", b"nothing", "cannot be read as arrays"),
        ("c.npy", b"\x93NUMPY", "save both"),
    ],
)
def test_arrays_that_are_wrong_are_refused(name: str, data: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read_counts(name, data).of(SMALL)


def test_counts_of_another_top_k_are_refused_and_dropped_tokens_doubted() -> None:
    assert doubt(given(COUNTS), SMALL) is None
    with pytest.raises(DataError, match=r"layer 3 has 2\.5 selections per token, but the model selects 2"):
        doubt(given([COUNTS[0], [6, 7, 7]], (10, 8)), SMALL)
    said = doubt(given(COUNTS, (10, 16)), SMALL)
    assert said is not None
    assert "1 of 2 layers have fewer selections per token than the model's 2 (1.25 at least)" in said
    with pytest.raises(DataError, match="layer 3 has no tokens"):
        doubt(given([COUNTS[0], [0, 0, 0]], (10, 0)), SMALL)


@pytest.mark.parametrize("score", ["risk_difference", "odds_ratio"])
def test_counts_of_traces_give_the_mask_that_the_traces_give(score: ExpertScore) -> None:
    data = traces(40)
    config = SteerMoEConfig(scores=(score,), n_activated=(2,), n_deactivated=(3,))
    (expected,) = candidates(data, SPEC, config)
    counted = count_selections(data)
    negative, positive = (
        GivenCounts(name, {"file": name, "sha256": name}, counted.selected_SLE[side], counted.tokens_SL[side])
        for side, name in enumerate(("without.csv", "with.csv"))
    )
    mask = mask_from_counts(positive, negative, SPEC, config)
    assert all(torch.equal(tensor, expected.mask.rule.tensors[name]) for name, tensor in mask.rule.tensors.items())
    assert mask.provenance["experts"] == expected.mask.provenance["experts"]


def test_tokens_count_layer_by_layer() -> None:
    """Layer 1: 10 of 10 with and without; layer 3: 10 of 20 with, 10 of 10 without."""
    positive, negative = given([[10, 6, 4], [0, 10, 10]], (10, 20)), given([[10, 6, 4], [0, 10, 10]], (10, 10))
    mask = mask_from_counts(positive, negative, SMALL, SteerMoEConfig(n_activated=(0,), n_deactivated=(1,)))
    (row,) = mask.provenance["experts"]
    assert (row["layer"], row["expert"], row["risk_difference"]) == (3, 1, -0.5)


def test_the_card_and_the_provenance_say_where_the_counts_come_from() -> None:
    positive, negative = given([[10, 4, 6], [0, 10, 10]], name="x/with.csv"), given(COUNTS, name="y/without.csv")
    mask = mask_from_counts(positive, negative, SMALL, SteerMoEConfig(n_activated=(1,), n_deactivated=(0,)))
    card = counts_card(mask, "my-model", "defence")
    assert [(source.side, source.file, source.tokens) for source in card.counts] == [
        ("with", "with.csv", 10),
        ("without", "without.csv", 10),
    ]
    assert card.counts[0].sha256 == positive.origin["sha256"]
    assert card.selected == {"score": "risk_difference", "n_activated": 1, "n_deactivated": 0}
    assert (card.mask_digest, card.judged) == (mask.digest, False)


def test_counts_that_do_not_differ_choose_nothing() -> None:
    with pytest.raises(DataError, match="no experts to choose"):
        mask_from_counts(given(COUNTS), given(COUNTS), SMALL, SteerMoEConfig(n_activated=(2,), n_deactivated=(0,)))
