"""The rules of masks: only tensors of the documented dtypes, only files that hold a whole mask."""

import json

import pytest
import torch
from safetensors.torch import save

from mascing.errors import MaskError
from mascing.masks.mask import FORMAT, Mask
from mascing.masks.rules import BiasRule, OverrideRule

ON, OFF, PRIORITY = torch.eye(2).bool(), torch.zeros(2, 2).bool(), torch.ones(2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64])
def test_a_bias_of_another_dtype_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(MaskError, match=f"bias must be torch.float32, not {dtype}"):
        BiasRule(torch.ones(2, 2).to(dtype))


def test_forced_experts_must_be_bool() -> None:
    OverrideRule(ON, OFF, PRIORITY)
    with pytest.raises(MaskError, match=r"activated must be torch\.bool, not torch\.uint8"):
        OverrideRule(ON.to(torch.uint8), 2 * ON.to(torch.uint8), PRIORITY)


@pytest.mark.parametrize(
    "description", [{"format": FORMAT}, {"format": FORMAT, "spec": {}, "epsilon": "x", "provenance": {}}, []]
)
def test_a_file_without_a_whole_description_is_no_mask(description: object) -> None:
    data = save({"bias": torch.ones(2, 2)}, metadata={"mascing": json.dumps(description)})
    with pytest.raises(MaskError, match="not a mask"):
        Mask.from_bytes(data)
