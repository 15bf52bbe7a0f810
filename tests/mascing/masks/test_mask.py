import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import s3fs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from mascing.errors import MaskError
from mascing.masks.mask import FORMAT, Mask
from mascing.routers.spec import RouterSpec
from tests.mascing.mask_rules import bias_of

SPEC = RouterSpec("olmoe", (0, 2), 4, 2, "softmax-topk", "abc")


def a_bias(**provenance: Any) -> Mask:
    return Mask.from_bias(torch.arange(8.0).view(2, 4), SPEC, provenance)


def an_override() -> Mask:
    on = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    off = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.bool)
    priority = (torch.arange(8.0).view(2, 4) - 3) / 8
    return Mask.from_override(on, off, priority, SPEC, epsilon=0.05, provenance={"method": "steermoe"})


@pytest.mark.parametrize(
    "mask", [a_bias(method="mascing", lambdas=[0.1, 1e-5]), an_override()], ids=["bias", "override"]
)
def test_a_mask_survives_its_file(mask: Mask, tmp_path: Path) -> None:
    path = str(tmp_path / "mask.safetensors")
    mask.save(path)
    loaded = Mask.load(path)
    assert loaded == mask
    assert loaded.digest == mask.digest
    assert (loaded.spec, loaded.provenance, loaded.rule.epsilon) == (mask.spec, mask.provenance, mask.rule.epsilon)
    assert Mask.load(f"file://{path}") == mask
    loaded.save(f"file://{path}")
    assert Path(path).read_bytes() == mask.to_bytes()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=8))
def test_any_finite_bias_is_kept_to_the_bit_and_counted(values: list[float]) -> None:
    mask = Mask.from_bias(torch.tensor(values).view(2, 4), SPEC)
    back = Mask.from_bytes(mask.to_bytes())
    assert bias_of(back).flatten().tolist() == values
    assert back.entries == sum(value != 0 for value in values)


def test_rule_entries_and_digest_say_what_is_in_it() -> None:
    assert (a_bias().rule.name, a_bias().entries) == ("bias", 7)
    assert (an_override().rule.name, an_override().entries) == ("override", 3)
    assert a_bias().digest == a_bias().digest
    assert len({a_bias().digest, a_bias(method="x").digest, an_override().digest}) == 3
    assert len({a_bias(), a_bias(), an_override()}) == 2


@pytest.mark.parametrize(
    ("mask", "digest"),
    [
        (
            a_bias(method="mascing", lambdas=[0.1, 1e-5]),
            "561a9bad2fb565076077d5fb67639b14f934696df69b452484d3ffbd38d88c35",
        ),
        (an_override(), "6943a2fbbf3b57d6e288cc3fcb1c709fd511f57fdc901bb6a0eec2d57cd7c657"),
    ],
    ids=["bias", "override"],
)
def test_the_bytes_of_a_mask_never_change(mask: Mask, digest: str) -> None:
    """A change here makes every published mask another than the one on its card."""
    assert mask.digest == digest


def test_a_mask_keeps_its_own_copy_of_the_bias() -> None:
    bias = torch.zeros(2, 4)
    mask = Mask.from_bias(bias, SPEC)
    bias += 1
    assert mask.entries == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_entries_that_are_no_numbers_are_refused(bad: float) -> None:
    bias = torch.zeros(2, 4)
    bias[1, 2] = bad
    with pytest.raises(MaskError, match="NaN or infinite"):
        Mask.from_bias(bias, SPEC)
    with pytest.raises(MaskError, match="NaN or infinite"):
        Mask.from_override(torch.zeros(2, 4), torch.zeros(2, 4), bias, SPEC)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (8,), (1, 2, 4)])
def test_another_shape_than_the_models_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MaskError, match=r"\[L, E\] = \[2, 4\]"):
        Mask.from_bias(torch.zeros(shape), SPEC)


def test_an_expert_both_on_and_off_is_refused() -> None:
    every_expert_LE = torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(MaskError, match="both"):
        Mask.from_override(every_expert_LE, every_expert_LE, torch.zeros(2, 4), SPEC)


def test_an_epsilon_that_is_no_step_is_refused() -> None:
    for epsilon in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(MaskError, match="epsilon"):
            Mask.from_override(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 4), SPEC, epsilon)


@pytest.mark.parametrize("names", [(), ("bias", "activated"), ("activated", "deactivated")])
def test_a_file_of_both_rules_or_none_is_refused(names: tuple[str, ...]) -> None:
    about = {"format": FORMAT, "spec": SPEC.to_json(), "epsilon": 0.01, "provenance": {}}
    data = save({name: torch.zeros(2, 4) for name in names}, metadata={"mascing": json.dumps(about)})
    with pytest.raises(MaskError, match="a mask has a bias, or"):
        Mask.from_bytes(data)


def test_what_is_no_mask_is_refused_in_one_line(tmp_path: Path) -> None:
    data = a_bias().to_bytes()
    other = {"mascing": json.dumps({"format": "mascing-mask-9"})}
    cases = [b"", b"hello", data[:40], data[:-4], struct.pack("<Q", 2**60) + b"{}"]
    cases += [save({"bias": torch.zeros(2, 4)}), save({"bias": torch.zeros(2, 4)}, metadata=other)]
    for data in cases:
        with pytest.raises(MaskError) as error:
            Mask.from_bytes(data)
        assert "\n" not in str(error.value)
    for url in (str(tmp_path / "absent.safetensors"), "zz://absent"):
        with pytest.raises(MaskError, match="no mask can be read"):
            Mask.load(url)
    with pytest.raises(MaskError, match="cannot be written"):
        a_bias().save("zz://absent")


def test_what_has_no_end_or_is_too_large_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(64 * 10**6 + 1)
    for place, said in (
        (f"{tmp_path}/pipe", "no regular file but a device, a pipe or a socket"),
        (f"file://{tmp_path}/pipe", "no regular file"),
        ("/dev/zero", "no regular file"),
        (f"{tmp_path}/large", "larger than the 64 MB"),
        (str(tmp_path), "Is a directory"),
    ):
        with pytest.raises(MaskError, match=f"no mask can be read from {place}: .*{said}"):
            Mask.load(place)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": [0, 0]},
        {"groups": [3, 1]},
        {"groups": [2, 3]},
        {"layer_ids": [9, 9]},
        {"top_k": 5},
        {"fingerprint": None},
        {"family": None},
        {"scoring": 3},
    ],
)
def test_a_mask_whose_routers_cannot_be_is_refused(change: dict[str, Any]) -> None:
    mask = a_bias()
    description = {"format": FORMAT, "spec": mask.spec.to_json() | change, "epsilon": 0.01, "provenance": {}}
    with pytest.raises(MaskError, match="not a mask"):
        Mask.from_bytes(save(mask.rule.tensors, metadata={"mascing": json.dumps(description)}))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://no-such-bucket-here/x", "s3:// found no credentials: set AWS_ACCESS_KEY_ID"),
        ("nosuch://x/y", "Protocol not known: nosuch: check the URL"),
        ("gs://x/y", "gs:// takes a package that is not installed"),
    ],
)
def test_urls_that_cannot_be_reached_are_told_in_one_line(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    s3fs.S3FileSystem.clear_instance_cache()  # another test of this process may have signed in already
    mask = Mask.from_bias(torch.zeros(1, 4), RouterSpec("olmoe", (0,), 4, 2, "softmax", "f" * 64))
    for attempt in (Mask.load, mask.save):
        with pytest.raises(MaskError) as refused:
            attempt(url)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_hub_that_does_not_answer_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem
    from huggingface_hub import errors

    def unreachable(*_: object, **__: object) -> None:
        raise errors.HTTPError("[Errno -2] Name or service not known")  # type: ignore[attr-defined]

    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    with pytest.raises(MaskError, match=r"no mask can be read from memory://x: .*Name or service not known: check"):
        Mask.load("memory://x")
