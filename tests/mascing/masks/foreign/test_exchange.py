"""Masks to and from the formats of others: what is read, what is refused, and what comes back unchanged."""

import json
from typing import Any

import pytest
import torch

from mascing.errors import MaskError
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import Placed, placed
from mascing.masks.foreign.layer_numbers import Numbering
from mascing.masks.foreign.table import FORMATS, exported, recognised
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec

SPEC = RouterSpec("olmoe", (0, 1, 2), 8, 2, "softmax-topk", "a" * 64)
DENSE_FIRST = RouterSpec("deepseek_v2", (1, 2, 3), 8, 2, "softmax-topk", "b" * 64)


def brought(
    content: Any, spec: RouterSpec = SPEC, numbering: Numbering = "unsaid", bias: float | None = None
) -> Placed:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return placed(FORMATS[recognised(data)].read(data, Choice()), spec, numbering=numbering, bias=bias)


def easysteer(**layers: Any) -> dict[str, Any]:
    return {"layer_configs": {name.removeprefix("l"): layer for name, layer in layers.items()}}


def plain(*experts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"format": "mascing-experts-1", "experts": list(experts), **more}


def random_override(spec: RouterSpec) -> Mask:
    priority_LE = torch.randn(spec.n_layers, spec.n_experts, generator=torch.Generator().manual_seed(3))
    return Mask.from_override(priority_LE > 1, priority_LE < -1, priority_LE, spec, 0.02, {"method": "steermoe"})


def random_bias(spec: RouterSpec) -> Mask:
    bias_LE = torch.randn(spec.n_layers, spec.n_experts, generator=torch.Generator().manual_seed(4))
    return Mask.from_bias(bias_LE * (bias_LE.abs() > 0.7), spec, {"method": "gradient"})


@pytest.mark.parametrize("mask", [random_override(DENSE_FIRST), random_bias(DENSE_FIRST)], ids=["override", "bias"])
def test_plain_json_comes_back_as_the_same_mask(mask: Mask) -> None:
    back = brought(exported(mask, "json"), DENSE_FIRST).mask
    assert (back.spec, back.rule.name, back.rule.epsilon) == (mask.spec, mask.rule.name, mask.rule.epsilon)
    for name, tensor in mask.rule.tensors.items():
        assert torch.equal(tensor, back.rule.tensors[name])
    assert back.provenance == {"exported": {"digest": mask.digest, **mask.provenance}}


def test_easysteer_json_comes_back_with_the_same_experts() -> None:
    mask = random_override(DENSE_FIRST)
    back = brought(exported(mask, "easysteer"), DENSE_FIRST, "depth").mask
    assert torch.equal(back.rule.signed_LE, mask.rule.signed_LE)
    assert back.rule.epsilon == mask.rule.epsilon


def test_easysteer_has_no_bias() -> None:
    with pytest.raises(MaskError, match="no constant bias"):
        exported(random_bias(SPEC), "easysteer")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_json_is_known_in_every_encoding_that_it_has(encoding: str) -> None:
    mask = random_override(SPEC)
    for name in ("json", "easysteer"):
        back = brought(exported(mask, name).decode().encode(encoding))
        assert torch.equal(back.mask.rule.signed_LE, mask.rule.signed_LE)


@pytest.mark.parametrize("name", ["json", "easysteer"])
def test_a_mask_without_entries_is_not_written(name: str) -> None:
    nobody_LE = torch.zeros(SPEC.n_layers, SPEC.n_experts, dtype=torch.bool)
    with pytest.raises(MaskError, match="the mask has no entries"):
        exported(Mask.from_override(nobody_LE, nobody_LE, nobody_LE.float(), SPEC), name)


def test_the_modes_of_easysteer_are_read_as_it_reads_them() -> None:
    mask = brought(
        easysteer(
            l0={"mode": "suppress", "expert_ids": [5, 6]},
            l1={"expert_ids": [2], "deactivate_ids": [2, 3]},  # activate is its default, and off wins
            l2={"mode": "steermoe", "activate_ids": [7]},
        )
    ).mask
    off = [tuple(place) for place in (mask.rule.signed_LE < 0).nonzero().tolist()]
    assert off == [(0, 5), (0, 6), (1, 2), (1, 3)]
    assert (mask.rule.signed_LE > 0).nonzero().tolist() == [[2, 7]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (easysteer(l0={"mode": "soft", "expert_ids": [1]}), "each token's own spread"),
        (easysteer(l0={"mode": "soft_random", "expert_ids": [1]}), "draws other experts"),
        (easysteer(l0={"mode": "louder", "expert_ids": [1]}), "mode 'louder'"),
        (easysteer(l0={"mode": "activate"}), "names no experts"),
        (easysteer(l0={"mode": "activate", "expert_ids": [1], "gain": 2}), "'gain'"),
        (easysteer(l0={"mode": "activate", "expert_ids": [1, 2, 3]}), "layer 0 cannot force all"),
        (easysteer(l0={"expert_ids": [8]}), "no expert 8"),
        (easysteer(l3={"expert_ids": [1]}), "no layer 3"),
        (easysteer(l0={"expert_ids": [1]}, l1={"expert_ids": [1], "epsilon": 1.0}), "2 different values of epsilon"),
        ({"layer_configs": {}}, "holds none"),
        (easysteer(l0={"mode": ["activate"], "expert_ids": [1]}), r"mode \['activate'\]"),
        (
            easysteer(l0={"expert_ids": [1]}, l00={"mode": "deactivate", "expert_ids": [1]}),
            "layer 0 stands there twice",
        ),
        (b'{"layer_configs": {"0": {"expert_ids": [1]}, "0": {"expert_ids": [2]}}}', "'0' stands there twice"),
        (
            b'{"format": "mascing-experts-1", "experts": [{"layer": 0, "expert": 3, "forced": "on"}], "experts": '
            b'[{"layer": 0, "expert": 5, "forced": "on"}]}',
            "'experts' stands there twice",
        ),
        (
            b'{"format": "mascing-experts-1", "experts": [{"layer": 0, "layer": 1, "expert": 3, "forced": "on"}]}',
            "'layer' stands there twice",
        ),
        ({"layer_configs": {"9" * 5000: {"expert_ids": [1]}}}, "must be the number of a layer"),
        (b'{"layer_configs": ' + b"[" * 100_000, "nested too deeply"),
        (plain({"layer": 0, "expert": 1, "bias": 1e39}), "layer 0, expert 1: a bias is a finite number of at most"),
        (plain({"layer": 0, "expert": 1, "priority": 1e39, "forced": "on"}), "a priority is a finite number"),
        (plain({"layer": -1, "expert": 1, "bias": 1.0}), r"^experts\.0\.layer: must be [a-z ]* 0, got -1$"),
        (plain(), "^experts: must not be empty, got \\[\\]$"),
        (plain({"layer": True, "expert": 1, "bias": 1.0}), "experts.0.layer: must be a whole number, got true"),
        (plain({"layer": 0, "expert": 1, "bias": True}), "experts.0.bias: must be a number, got true"),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, epsilon=True), "epsilon: must be a number, got true"),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, model={"top_k": "2"}), "model.top_k: must be a whole number"),
        (plain({"layer": 0, "expert": 1}), 'needs either "bias"'),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, {"layer": 0, "expert": 2, "forced": "on"}), "one rule"),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, {"layer": 0, "expert": 1, "bias": 1.0}), "stands there twice"),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, model={"family": "mixtral"}), "its family is mixtral"),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, model={"fingerprint": "c"}), "mascing mask transfer"),
        (plain({"layer": 0, "expert": 1, "bias": 1.0}, model={"top_k": 4}), "its top_k is 4"),
        (plain({"layer": 0, "expert": 1, "bias": 0}), "moves no expert"),
        (plain({"layer": 0, "expert": 1, "priority": 1.0}), "moves no expert"),
        (plain({"layer": 0, "expert": 1, "bias": -1e-60}), "a bias is -1e-60, which float32 holds as 0"),
        ({"some": "json"}, "no format of masks that is known"),
        (b"GGUF\x03\0\0\0", "a GGUF control vector"),
        (b"PK\x03\x04data.pkl", "added to the hidden states"),
    ],
)
def test_what_no_mask_can_say_is_refused(content: Any, said: str) -> None:
    with pytest.raises(MaskError, match=said):
        brought(content)


def test_experts_become_biases_where_that_is_asked_for() -> None:
    mask = brought(easysteer(l1={"activate_ids": [1], "deactivate_ids": [2]}), bias=1.5).mask
    assert mask.to_polars().rows() == [(1, 1, 1.5), (1, 2, -1.5)]
    with pytest.raises(MaskError, match="holds biases already"):
        brought(plain({"layer": 0, "expert": 1, "bias": 1.0}), bias=1.5)


@pytest.mark.parametrize(
    ("layers", "numbering", "depths", "how"),
    [
        ((3,), "unsaid", [3], "no layer 3 by the other count"),
        ((0, 1), "unsaid", [1, 2], "no layer 0 by the other count"),
        ((1,), "depth", [1], "as --layers says"),
        ((1,), "index", [2], "as --layers says"),
    ],
)
def test_layer_numbers_are_read_by_evidence_or_by_what_is_said(
    layers: tuple[int, ...], numbering: Numbering, depths: list[int], how: str
) -> None:
    content = easysteer(**{f"l{layer}": {"expert_ids": [4]} for layer in layers})
    result = brought(content, DENSE_FIRST, numbering)
    assert [row["layer"] for row in result.mask.to_polars().to_dicts()] == depths
    assert how in result.layers


def test_layer_numbers_that_can_mean_both_are_refused() -> None:
    with pytest.raises(MaskError, match="--layers depth or --layers index"):
        brought(easysteer(l1={"expert_ids": [4]}), DENSE_FIRST)
    with pytest.raises(MaskError, match="leave --layers out"):
        brought(plain({"layer": 1, "expert": 1, "bias": 1.0}), DENSE_FIRST, "index")
