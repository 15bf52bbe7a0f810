import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.schemas.config import SplitConfig
from mascing.schemas.settings.method_settings import GradientConfig
from mascing.storage.fingerprint import Streamed, fingerprint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def shape_of(value: Any) -> Any:
    """The value with its types spelled out, so that 1, 1.0 and True differ and the order of keys does not."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value), repr(value)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(list(value))}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@PROPERTY
@given(PLAIN)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert fingerprint(value) == fingerprint(reversed_keys(value))


@PROPERTY
@given(PLAIN, PLAIN)
def test_values_share_a_fingerprint_only_if_they_are_equal(first: Any, second: Any) -> None:
    assert (fingerprint(first) == fingerprint(second)) == (shape_of(first) == shape_of(second))


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (None, "74234e98afe7498f"),
        ({"seed": 1, "alphas": [0.25, 1.0], "name": "ü"}, "8ea80eef9fbc52ef"),
        (np.arange(6, dtype=np.float32).reshape(2, 3), "7c3b2a35b5798660"),
        (SplitConfig(), "066addf186ccaec6"),
    ],
)
def test_fingerprints_never_change(value: Any, golden: str) -> None:
    """A change here orphans every stage that anybody has stored."""
    assert fingerprint(value) == golden


@PROPERTY
@given(st.lists(PLAIN, max_size=4))
def test_values_that_come_one_by_one_have_the_fingerprint_of_their_list(values: list[Any]) -> None:
    assert fingerprint(Streamed(iter(values))) == fingerprint(values)
    assert fingerprint([Streamed(iter(values)), 1, Streamed([])]) == fingerprint([values, 1, []])
    named = {"b": Streamed(iter(values)), "$a": Streamed([1]), "c": values}
    assert fingerprint(named) == fingerprint({"b": values, "$a": [1], "c": values})


def test_a_model_counts_as_its_fields() -> None:
    assert fingerprint(GradientConfig(steps=3)) == fingerprint(GradientConfig(steps=3).model_dump())
    assert fingerprint(GradientConfig(steps=3)) != fingerprint(GradientConfig(steps=4))


def test_arrays_differ_by_type_shape_and_content() -> None:
    base = np.zeros((2, 3), np.float32)
    changed = base.copy()
    changed[1, 2] = 1
    variants = [base.astype(np.float64), base.reshape(3, 2), changed, base.tolist(), torch.zeros(2, 3)]
    assert len({fingerprint(value) for value in [base, *variants]}) == 6


def test_arrays_do_not_differ_by_memory_order_or_byte_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert fingerprint(array) == fingerprint(np.asfortranarray(array)) == fingerprint(array.astype(">f4"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_differ_by_type_and_content_alone(dtype: torch.dtype) -> None:
    zeros, ones = torch.zeros(2, 3, dtype=dtype), torch.ones(2, 3, dtype=dtype)
    assert fingerprint(zeros) == fingerprint(torch.nn.Parameter(zeros, requires_grad=False).clone())
    assert fingerprint(zeros) == fingerprint(torch.zeros(3, 2, dtype=dtype).T)
    assert fingerprint(zeros) != fingerprint(ones)
    assert fingerprint(zeros[0, 0]) != fingerprint(zeros[:1, 0])


def test_a_dict_cannot_pass_for_an_array() -> None:
    array = np.zeros(1, np.float32)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    assert fingerprint({"$array": ["<f4", [1], digest]}) != fingerprint(array)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        object(),
        date(2024, 1, 1),
        Path("x"),
        lambda: None,
        {1: "a"},
        {None: "a"},
        float("nan"),
        [float("inf")],
        1j,
        np.array([object()]),
        (item for item in "ab"),
        {"deep": [{"set": {1}}]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_stable_content_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no stable fingerprint"):
        fingerprint(value)
