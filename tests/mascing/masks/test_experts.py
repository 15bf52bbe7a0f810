"""Masks from a few experts, and as tables of them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec, inspect_routers
from tests.mascing.tiny_olmoe import tiny_olmoe

SPEC = RouterSpec("olmoe", (1, 2, 4), 8, 2, "softmax-topk", "f" * 64)
"""Layers 0 and 3 are dense."""


def test_a_mask_is_made_of_experts_by_the_depth_of_their_layer() -> None:
    mask = Mask.from_experts({1: {3: 2.0}, 4: {0: -1, 7: 0.5}}, SPEC)
    bias_LE = torch.zeros(3, 8)
    bias_LE[0, 3], bias_LE[2, 0], bias_LE[2, 7] = 2.0, -1.0, 0.5
    assert torch.equal(mask.rule.signed_LE, bias_LE)
    assert mask.provenance == {"method": "by hand"}
    assert Mask.from_bias(bias_LE, SPEC, {"method": "by hand"}) == mask


def test_a_model_does_for_what_is_said_of_it() -> None:
    model = tiny_olmoe()
    assert Mask.from_experts({0: {1: 1.0}}, model).spec == inspect_routers(model)


def test_a_bias_of_minus_zero_is_none() -> None:
    assert Mask.from_experts({1: {3: -0.0}}, SPEC) == Mask.from_experts({}, SPEC)


def test_a_factor_beyond_every_float_is_refused() -> None:
    with pytest.raises(MaskError, match="what multiplies a mask is a finite number of at most"):
        Mask.from_experts({1: {3: 1.0}}, SPEC) * 10**400


@pytest.mark.parametrize("provenance", [[("method", "x")], 3, "by hand", {"made": Path("x")}, {1: "a", "b": 2}])
def test_provenance_that_cannot_be_stored_is_refused_when_the_mask_is_made(provenance: Any) -> None:
    for made in (
        lambda: Mask.from_experts({}, SPEC, provenance),
        lambda: Mask.from_bias(torch.ones(3, 8), SPEC, provenance),
    ):
        with pytest.raises(MaskError, match="provenance"):
            made()


@pytest.mark.parametrize(
    ("experts", "said"),
    [
        ({0: {1: 1.0}}, r"layer 0 has no router: the MoE layers of this olmoe are 1, 2, 4"),
        ({"1": {1: 1.0}}, r"layer '1' has no router"),
        ({1: {8: 1.0}}, r"layer 1 has no expert 8: they are 0 to 7"),
        ({1: {-1: 1.0}}, r"layer 1 has no expert -1"),
        ({1: {0.0: 1.0}}, r"layer 1 has no expert 0.0"),
        ({1: {1: float("nan")}}, r"layer 1, expert 1: a bias is a finite number, not nan"),
        ({1: {1: "strong"}}, r"a bias is a finite number, not 'strong'"),
        ({1: {1: True}}, r"a bias is a finite number, not True"),
        ({1: {1: 1e39}}, r"layer 1, expert 1: a bias is a finite number of at most 3.4e\+38 in size"),
        ({1: {1: 10**400}}, r"a bias is a finite number of at most 3.4e\+38 in size"),
        ({True: {1: 1.0}}, r"layer True has no router"),
        ({1: {True: 1.0}}, r"layer 1 has no expert True"),
        ({1: [3]}, r"layer 1: give {layer: {expert: bias}}, not list"),
        ([1, 2], r"experts: give {layer: {expert: bias}}, not list"),
    ],
)
def test_what_the_model_does_not_have_is_refused_by_name(experts: Any, said: str) -> None:
    with pytest.raises(MaskError, match=said):
        Mask.from_experts(experts, SPEC)


def test_other_types_are_refused_in_words() -> None:
    bias: Any = [[0.0] * 8] * 3
    other: Any = "a model"
    with pytest.raises(MaskError, match="bias must be a Tensor, not list"):
        Mask.from_bias(bias, SPEC)
    with pytest.raises(MaskError, match="spec must be a RouterSpec, not str"):
        Mask.from_bias(torch.zeros(3, 8), other)
    with pytest.raises(MaskError, match="spec must be a RouterSpec, not str"):
        Mask.from_experts({}, other)
    with pytest.raises(MaskError, match="activated must be a Tensor, not list"):
        Mask.from_override(bias, torch.zeros(3, 8), torch.zeros(3, 8), SPEC)
    with pytest.raises(MaskError, match="rule must be a BiasRule or OverrideRule, not str"):
        Mask(SPEC, other)
    with pytest.raises(MaskError, match="url must be a str or PathLike, not int"):
        Mask.load(7)  # type: ignore[arg-type]


def test_a_bias_mask_is_a_table_of_its_entries() -> None:
    mask = Mask.from_experts({4: {0: -1.0}, 1: {3: 2.0}}, SPEC)
    wanted = pl.DataFrame(
        {"layer": [1, 4], "expert": [3, 0], "bias": [2.0, -1.0]},
        schema={"layer": pl.Int32, "expert": pl.Int32, "bias": pl.Float32},
    )
    assert mask.to_polars().equals(wanted)
    assert mask.to_polars().schema == wanted.schema
    table = mask.to_polars()
    experts: dict[int, dict[int, float]] = {}
    for layer, expert, bias in table.iter_rows():
        experts.setdefault(layer, {})[expert] = bias
    assert Mask.from_experts(experts, SPEC) == mask


def test_an_override_mask_is_a_table_of_what_it_forces() -> None:
    on, off, priority = torch.zeros(3, 8, dtype=torch.bool), torch.zeros(3, 8, dtype=torch.bool), torch.zeros(3, 8)
    on[0, 3], off[2, 5], priority[0, 3] = True, True, 0.5
    table = Mask.from_override(on, off, priority, SPEC).to_polars()
    assert table.rows() == [(1, 3, "on", 0.5), (4, 5, "off", 0.0)]
    assert table.columns == ["layer", "expert", "forced", "priority"]
    assert Mask.from_experts({}, SPEC).to_polars().columns == ["layer", "expert", "bias"]
