"""What a user may call a mask."""

from pathlib import Path

import pytest
import torch

from mascing.errors import MaskError, StorageError
from mascing.masks.mask import Mask
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.routers.spec import RouterSpec
from mascing.runs import registry
from mascing.runs.mask_address import mask_url
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage

SPEC = RouterSpec(family="olmoe", layer_ids=(0, 1), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)


def publish(url: str, model: str, behaviour: str, fingerprint: str = "a" * 64) -> str:
    """Publish a mask and return where it lies."""
    storage = Storage.open(url)
    output = StageOutput(storage, MaskStored, behaviour, f"{len(model):015x}{fingerprint[0]}")
    mask = Mask.from_bias(torch.ones(2, 4), SPEC)
    manifest = output.commit([output.put("mask.safetensors", mask.to_bytes(), 1)], MaskFacts(), rows_in=1)
    registry.publish(storage, NamedCheckpoint(model, fingerprint), behaviour, manifest.prefix)
    return f"{url}/{manifest.prefix}/mask.safetensors"


def test_a_file_and_a_url_mean_themselves(tmp_path: Path) -> None:
    file = tmp_path / "mask.safetensors"
    file.touch()
    assert mask_url(str(file), "unused") == str(file)
    assert mask_url("s3://bucket/mask.safetensors", "unused") == "s3://bucket/mask.safetensors"


def test_a_folder_means_the_mask_in_it(tmp_path: Path) -> None:
    (tmp_path / "mask.safetensors").touch()
    assert mask_url(str(tmp_path), "unused") == f"{tmp_path}/mask.safetensors"
    assert mask_url("s3://bucket/masks/x/", "unused") == "s3://bucket/masks/x/mask.safetensors"


def test_the_folder_of_a_run_on_this_disk_means_the_mask_that_it_kept(tmp_path: Path) -> None:
    with pytest.raises(
        MaskError, match=f"there is no mask.safetensors in {tmp_path}, nor in {tmp_path}/unproven: give"
    ):
        mask_url(f"{tmp_path}/", "unused")
    (tmp_path / "unproven").mkdir()
    (tmp_path / "unproven" / "mask.safetensors").touch()
    assert mask_url(f"{tmp_path}/", "unused") == f"{tmp_path}/unproven/mask.safetensors"


def test_a_channel_means_what_is_published_there(tmp_path: Path) -> None:
    lies = publish(str(tmp_path), "org/olmoe", "defence")
    for address in ("defence", "org/olmoe/defence", "org--olmoe/defence", "org--olmoe-aaaaaaaaaaaa/defence"):
        assert mask_url(f"{address}@candidate", str(tmp_path)) == lies


def test_a_model_must_be_named_where_several_have_the_behaviour(tmp_path: Path) -> None:
    publish(str(tmp_path), "olmoe", "defence")
    lies = publish(str(tmp_path), "allenai/other", "defence", "b" * 64)
    addresses = "allenai--other-bbbbbbbbbbbb/defence@candidate, olmoe-aaaaaaaaaaaa/defence@candidate"
    with pytest.raises(MaskError, match=f"several models have defence@candidate: give one of {addresses}"):
        mask_url("defence@candidate", str(tmp_path))
    assert mask_url("allenai/other/defence@candidate", str(tmp_path)) == lies


def test_models_of_one_name_are_told_apart_by_their_content(tmp_path: Path) -> None:
    publish(str(tmp_path), "checkpoint-100", "defence")
    lies = publish(str(tmp_path), "checkpoint-100", "defence", "b" * 64)
    with pytest.raises(MaskError, match="several models have checkpoint-100/defence@candidate: give one of"):
        mask_url("checkpoint-100/defence@candidate", str(tmp_path))
    assert mask_url("checkpoint-100-bbbbbbbbbbbb/defence@candidate", str(tmp_path)) == lies


@pytest.mark.parametrize("address", ["policy@candidate", "defence@production", "elsewhere/defence@candidate"])
def test_what_is_not_published_is_an_error_that_lists_what_is(tmp_path: Path, address: str) -> None:
    publish(str(tmp_path), "olmoe", "defence")
    with pytest.raises(MaskError, match="published there: olmoe-aaaaaaaaaaaa/defence@candidate"):
        mask_url(address, str(tmp_path))


@pytest.mark.parametrize("address", ["no-such-file.safetensors", "", "@candidate"])
def test_anything_else_is_an_error(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MaskError, match="give a file, a URL, or behaviour@channel"):
        mask_url(address, str(tmp_path))


@pytest.mark.parametrize("by_channel", [True, False])
def test_a_published_mask_whose_bytes_have_changed_is_refused(tmp_path: Path, by_channel: bool) -> None:
    lies = Path(publish(str(tmp_path), "olmoe", "defence"))
    address = "defence@candidate" if by_channel else str(lies.parent.relative_to(tmp_path))
    assert mask_url(address, str(tmp_path)) == str(lies)
    data = lies.read_bytes()
    lies.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError, match=f"{lies} is missing or damaged"):
        mask_url(address, str(tmp_path))
