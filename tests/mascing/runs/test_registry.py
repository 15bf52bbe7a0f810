from concurrent.futures import ThreadPoolExecutor

import pytest

from mascing.errors import StorageError
from mascing.runs.registry import current, publish
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage


def mask(storage: Storage, name: str) -> str:
    output = StageOutput(storage, MaskStored, name, "0" * 16)
    output.commit([output.put("mask.safetensors", name.encode(), rows=1)], MaskFacts(), rows_in=1)
    return output.prefix


def test_a_channel_points_at_the_mask_published_last_and_keeps_its_history(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    assert current(storage, "org/model", "policy", "candidate") is None
    publish(storage, "org/model", "policy", first)
    moved = publish(storage, "org/model", "policy", second)
    assert moved.mask == second
    assert moved.history == (first,)
    assert current(storage, "org/model", "policy", "candidate") == moved
    assert publish(storage, "org/model", "policy", first).history == (first, second)


def test_publishing_the_same_mask_again_changes_nothing(storage: Storage) -> None:
    prefix = mask(storage, "first")
    assert publish(storage, "m", "policy", prefix) == publish(storage, "m", "policy", prefix)
    assert current(storage, "m", "policy") == publish(storage, "m", "policy", prefix)
    assert publish(storage, "m", "policy", prefix).history == ()


def test_concurrent_publications_are_all_in_the_history(storage: Storage) -> None:
    prefixes = [mask(storage, f"mask-{n}") for n in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda prefix: publish(storage, "m", "policy", prefix), prefixes))
    channel = current(storage, "m", "policy")
    assert channel is not None
    assert sorted([*channel.history, channel.mask]) == sorted(prefixes)


def test_channels_are_apart_by_model_behaviour_and_name(storage: Storage) -> None:
    prefix = mask(storage, "first")
    publish(storage, "org/m", "policy", prefix)
    assert storage.list("registry") == ["registry/org--m/policy/candidate.json"]
    assert current(storage, "org/m", "policy", "live") is None
    assert current(storage, "org/m", "defence") is None
    assert current(storage, "m", "policy") is None


def test_a_model_given_as_a_path_gets_one_folder(storage: Storage) -> None:
    publish(storage, "/data/models/../mödel v1", "policy", mask(storage, "first"))
    assert storage.list("registry") == ["registry/data--models--m-del-v1/policy/candidate.json"]


def test_a_mask_that_was_not_committed_is_not_published(storage: Storage) -> None:
    output = StageOutput(storage, MaskStored, "half", "0" * 16)
    output.put("mask.safetensors", b"x", rows=1)
    with pytest.raises(StorageError, match="holds no finished mask"):
        publish(storage, "m", "policy", output.prefix)
    assert current(storage, "m", "policy") is None


def test_a_damaged_channel_is_told(storage: Storage) -> None:
    prefix = mask(storage, "first")
    storage.overwrite("registry/m/policy/candidate.json", b"{}")
    with pytest.raises(StorageError, match="is not a channel: restore it"):
        publish(storage, "m", "policy", prefix)


@pytest.mark.parametrize("name", ["", "/", ".."])
def test_a_name_without_letters_names_no_channel(storage: Storage, name: str) -> None:
    with pytest.raises(StorageError, match="cannot name a channel"):
        current(storage, name, "policy")
