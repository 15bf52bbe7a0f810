"""Reading back what stages left: a damaged file is refused with its name."""

import pytest
import torch
from safetensors.torch import save

from mascing.errors import DataError
from mascing.runs.readers import truth_from


def test_the_truth_is_the_tensor_of_its_file() -> None:
    bias = torch.eye(3)
    assert torch.equal(truth_from(save({"bias": bias}), "truth.safetensors"), bias)


@pytest.mark.parametrize("data", [b"else", save({"other": torch.zeros(1)})])
def test_a_file_without_a_truth_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DataError, match=r"no tensor `bias` .* in truth.safetensors, which `behaviour.truth` names"):
        truth_from(data, "truth.safetensors")
