import hashlib

import pytest
import torch

from mascing.errors import DataError
from mascing.masks.candidates import Candidate, from_bytes, to_bytes
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec

SPEC = RouterSpec("olmoe", (0, 2), 4, 2, "softmax", fingerprint="ab")


def two() -> list[Candidate]:
    additive = Mask.from_bias((torch.arange(8.0).view(2, 4) - 3) / 8, SPEC, {"from": "a test"})
    on = torch.tensor([[True, False, False, False], [False, True, True, False]])
    off = torch.tensor([[False, False, True, False], [True, False, False, False]])
    override = Mask.from_override(on, off, torch.arange(8.0).view(2, 4) / 8, SPEC, epsilon=0.5, provenance={"n": 1})
    return [Candidate("mascing", {"span": "question", "lambda": 1e-5}, additive), Candidate("steermoe", {}, override)]


def test_bytes_bring_back_the_same_candidates() -> None:
    before = two()
    back = from_bytes(to_bytes(before))
    assert [(c.method, c.cell, c.mask.digest) for c in back] == [(c.method, c.cell, c.mask.digest) for c in before]
    assert [c.mask.rule.name for c in back] == ["bias", "override"]
    assert to_bytes(back) == to_bytes(before)


def test_the_bytes_of_a_file_never_change() -> None:
    """A change here makes candidates that were stored and the same ones made again two different things."""
    digest = "2c81348b38f8539ce39df3cea2c67962ae9ab2192a23a14da44619918c1aa60a"
    assert hashlib.sha256(to_bytes(two())).hexdigest() == digest


def test_none_at_all_is_a_file_too() -> None:
    assert from_bytes(to_bytes([])) == []


@pytest.mark.parametrize("data", [b"", b"junk" * 10])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a file of candidate masks"):
        from_bytes(data)


def test_a_single_mask_is_refused() -> None:
    with pytest.raises(DataError, match="not a file of candidate masks"):
        from_bytes(two()[0].mask.to_bytes())


def test_a_cell_that_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError):
        to_bytes([Candidate("mascing", {"lambda": torch.tensor(1.0)}, two()[0].mask)])
