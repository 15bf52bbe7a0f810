"""Channels: what they hold afterwards, their history, and which model they belong to."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from mascing.errors import ConflictError, MaskError, StorageError
from mascing.masks.combining.composition import compose
from mascing.masks.mask import Mask
from mascing.masks.unproven import marked_unproven
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.registry import channels, channels_and_damage, current, promote, publish, rollback, sibling
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from tests.mascing.made_cards import FINGERPRINT, SPEC
from tests.mascing.made_cards import stored as mask

M = NamedCheckpoint("org/m", FINGERPRINT)


def test_a_channel_points_at_the_mask_published_last_and_keeps_its_history(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    assert current(storage, M, "policy", "candidate") is None
    publish(storage, M, "policy", first)
    moved = publish(storage, M, "policy", second)
    assert moved.mask == second
    assert moved.history == (first,)
    assert current(storage, M, "policy", "candidate") == moved
    back = publish(storage, M, "policy", first)
    assert (back.mask, back.history) == (first, (first, second))
    assert current(storage, M, "policy") == back


def test_publishing_the_same_mask_again_changes_nothing(storage: Storage) -> None:
    prefix = mask(storage, "first")
    assert publish(storage, M, "policy", prefix) == publish(storage, M, "policy", prefix)
    assert current(storage, M, "policy") == publish(storage, M, "policy", prefix)
    assert publish(storage, M, "policy", prefix).history == ()


def test_concurrent_publications_are_all_in_the_history(storage: Storage) -> None:
    prefixes = [mask(storage, f"mask-{n}") for n in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda prefix: publish(storage, M, "policy", prefix), prefixes))
    channel = current(storage, M, "policy")
    assert channel is not None
    assert sorted([*channel.history, channel.mask]) == sorted(prefixes)


def test_channels_are_apart_by_model_behaviour_and_name(storage: Storage) -> None:
    publish(storage, M, "policy", mask(storage, "first"))
    assert storage.list("registry") == ["registry/org--m-3fa9c1d2e4b5/policy/candidate.json"]
    assert current(storage, M, "policy", "live") is None
    assert current(storage, M, "defence") is None
    assert current(storage, NamedCheckpoint("org/m", "1" * 64), "policy") is None


def test_models_of_one_name_and_other_weights_have_channels_of_their_own(storage: Storage) -> None:
    prefixes = [mask(storage, name) for name in ("first", "second")]
    models = [NamedCheckpoint("checkpoint-100", digit * 64) for digit in "ab"]
    for model, prefix in zip(models, prefixes, strict=True):
        publish(storage, model, "policy", prefix)
    held = [current(storage, model, "policy") for model in models]
    assert [channel.mask for channel in held if channel] == prefixes


def test_the_same_weights_under_another_name_have_the_same_channel(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    publish(storage, NamedCheckpoint("served", M.fingerprint), "policy", first)
    moved = publish(storage, M, "policy", second)
    assert (moved.checkpoint, moved.history) == ("served-3fa9c1d2e4b5", (first,))
    assert [channel.mask for channel in channels(storage)] == [second]


def test_two_first_publications_of_the_same_weights_at_once_have_one_channel(storage: Storage) -> None:
    prefixes = [mask(storage, f"mask-{n}") for n in range(4)]
    models = [NamedCheckpoint(f"name-{n}", M.fingerprint) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: publish(storage, models[n], "policy", prefixes[n]), range(4)))
    [channel] = channels(storage)
    assert all(current(storage, model, "policy") == channel for model in models)


def test_a_mask_that_was_not_committed_is_not_published(storage: Storage) -> None:
    output = StageOutput(storage, MaskStored, "half", "0" * 16)
    output.put("mask.safetensors", b"x", rows=1)
    with pytest.raises(StorageError, match="holds no finished mask"):
        publish(storage, M, "policy", output.prefix)
    assert current(storage, M, "policy") is None


def test_an_unproven_mask_goes_to_no_channel_not_even_as_a_part(storage: Storage) -> None:
    proven = Mask.from_bias(torch.eye(1, 4), SPEC)
    unproven = marked_unproven(Mask.from_bias(torch.ones(1, 4), SPEC), "it missed target on test")
    for name, made in (("alone", unproven), ("part", compose([proven, unproven]).mask)):
        with pytest.raises(MaskError, match=r"is unproven \(it missed target on test\) and goes to no channel"):
            publish(storage, M, "policy", mask(storage, name, made))
    storage.overwrite("runs/policy-m-0/unproven/mask.safetensors", unproven.to_bytes())
    with pytest.raises(StorageError, match="the mask that a run kept is unproven"):
        publish(storage, M, "policy", "runs/policy-m-0/unproven")
    assert channels(storage) == []
    held = publish(storage, M, "policy", mask(storage, "proven", proven))
    assert promote(storage, held, "production", None, "by hand").mask == held.mask


def test_a_damaged_channel_is_told_and_does_not_hide_the_others(storage: Storage) -> None:
    prefix = mask(storage, "first")
    whole = publish(storage, M, "policy", prefix)
    storage.overwrite("registry/org--m-3fa9c1d2e4b5/defence/candidate.json", b"{}")
    storage.overwrite("registry/m/policy/candidate.json", b'{"model": "m", "mask": "of another layout"}')
    storage.overwrite("registry/notes.json", b"[1]")
    with pytest.raises(StorageError, match=r"is not a channel \(.* is required\): restore an earlier copy"):
        publish(storage, M, "defence", prefix)
    assert channels(storage) == [whole]


def test_a_channel_that_was_copied_as_a_file_is_told_and_moves_nothing(storage: Storage) -> None:
    channel = publish(storage, M, "policy", mask(storage, "first"))
    [path] = storage.list("registry")
    copied = path.replace(channel.channel, "production")
    storage.overwrite(copied, storage.read(path))
    for act in (
        lambda: current(storage, M, "policy", "production"),
        lambda: sibling(storage, channel, "production"),
        lambda: promote(storage, channel, "production", None, "by hand"),
    ):
        with pytest.raises(StorageError, match="holds the record of another channel"):
            act()
    found, damage = channels_and_damage(storage)
    assert found == [channel]
    assert [copied in told for told in damage] == [True]


@pytest.mark.parametrize("name", ["", "/", "..", "a/b"])
def test_a_name_that_is_no_part_of_a_path_names_no_channel(storage: Storage, name: str) -> None:
    with pytest.raises(StorageError, match="cannot name a channel"):
        current(storage, M, "policy", name)


def test_a_promoted_mask_stays_where_runs_publish_later(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    candidate = publish(storage, M, "policy", first)
    assert promote(storage, candidate, "production", None, "by hand").mask == first
    publish(storage, M, "policy", second)
    production = current(storage, M, "policy", "production")
    assert production is not None
    assert (production.mask, production.history) == (first, ())


def test_a_rollback_goes_back_and_is_in_the_history(storage: Storage) -> None:
    first, second, third = (mask(storage, name) for name in ("first", "second", "third"))
    channel = [publish(storage, M, "policy", prefix) for prefix in (first, second, third)][-1]
    back = rollback(storage, channel)
    assert (back.mask, back.history) == (second, (first, second, third))
    further = rollback(storage, back, first)
    assert (further.mask, further.history) == (first, (first, second, third, second))


def test_a_rollback_of_what_moved_meanwhile_or_was_never_held_is_refused(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    seen = publish(storage, M, "policy", first)
    with pytest.raises(MaskError, match="cannot go back to an earlier mask: it held no other mask before"):
        rollback(storage, seen)
    moved = publish(storage, M, "policy", second)
    with pytest.raises(MaskError, match="cannot go back to masks/third"):
        rollback(storage, moved, "masks/third")
    publish(storage, M, "policy", first)
    with pytest.raises(ConflictError, match="was moved meanwhile"):
        rollback(storage, moved)


def test_the_history_says_when_by_whom_and_why(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    publish(storage, M, "policy", first)
    moved = rollback(storage, publish(storage, M, "policy", second), why="it refuses too much")
    assert [(held, move and move.why) for held, move in moved.told] == [
        (first, "published by a run, whose gates it passes"),
        (second, "published by a run, whose gates it passes"),
        (first, "it refuses too much"),
    ]
    assert all(move and " on " in move.by and move.at.tzinfo for _, move in moved.told)


def test_masks_that_an_earlier_version_moved_are_told_without_a_reason(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    old = publish(storage, M, "policy", first)
    storage.overwrite(
        f"registry/{old.checkpoint}/policy/candidate.json", old.model_dump_json(exclude={"moves"}).encode()
    )
    told = publish(storage, M, "policy", second).told
    assert [(held, move is None) for held, move in told] == [(first, True), (second, False)]


@pytest.mark.parametrize("edited", [{"history": []}, {"mask": "masks/other-0"}], ids=["history", "mask"])
def test_a_channel_whose_moves_led_to_other_masks_is_told_as_damaged(tmp_path: Path, edited: dict[str, object]) -> None:
    storage = Storage.open(str(tmp_path))
    first, second = mask(storage, "first"), mask(storage, "second")
    publish(storage, M, "policy", first)
    held = publish(storage, M, "policy", second)
    storage.overwrite(
        f"registry/{held.checkpoint}/policy/candidate.json", json.dumps(held.model_dump(mode="json") | edited).encode()
    )
    found, [damage] = channels_and_damage(storage)
    assert found == []
    assert "is not a channel" in damage


def test_a_mask_that_was_rolled_back_from_is_withdrawn_until_it_is_promoted_by_hand(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    promote(storage, publish(storage, M, "policy", first), "production", None, "by hand")
    candidate = publish(storage, M, "policy", second)
    live = promote(storage, candidate, "production", current(storage, M, "policy", "production"), "by hand")
    back = rollback(storage, live)
    assert (back.mask, back.withdrawn) == (first, (second,))
    with pytest.raises(MaskError, match=r"cannot go back to an earlier mask: .* withdrawn by --to, .*: " + second):
        rollback(storage, back)
    again = promote(storage, candidate, "production", back, "by hand")
    assert (again.mask, again.withdrawn) == (second, ())


def test_a_promotion_is_refused_if_the_channel_moved_meanwhile(storage: Storage) -> None:
    first, second = mask(storage, "first"), mask(storage, "second")
    promote(storage, publish(storage, M, "policy", first), "production", None, "by hand")
    candidate = publish(storage, M, "policy", second)
    with pytest.raises(ConflictError, match="@production was moved meanwhile"):
        promote(storage, candidate, "production", None, "decided when nothing was live")
    live = current(storage, M, "policy", "production")
    assert live is not None
    assert live.mask == first


def test_a_mask_without_proof_of_its_gates_is_not_promoted(storage: Storage) -> None:
    candidate = publish(storage, M, "policy", mask(storage, "weak", gate="fail"))
    with pytest.raises(MaskError, match=r"does not pass its gates \(fail: target\)"):
        promote(storage, candidate, "production", None, "by hand")
    made = Mask.from_bias(torch.ones(1, 4), SPEC)
    output = StageOutput(storage, MaskStored, "bare", "0" * 16)
    output.commit([output.put("mask.safetensors", made.to_bytes(), rows=1)], MaskFacts(), rows_in=1)
    with pytest.raises(MaskError, match="has no card"):
        promote(storage, publish(storage, M, "policy", output.prefix), "production", None, "by hand")
    assert current(storage, M, "policy", "production") is None


OF_ANOTHER = pytest.mark.parametrize(
    ("behaviour", "checkpoint", "said"),
    [
        ("defence", M.fingerprint, "behaviour defence, not for policy"),
        ("policy", "1" * 64, "checkpoint 1{64}, not for 3fa9c1d2e4b50{52}"),
    ],
)


@OF_ANOTHER
def test_a_mask_of_another_behaviour_or_checkpoint_is_not_promoted(
    storage: Storage, behaviour: str, checkpoint: str, said: str
) -> None:
    other = mask(storage, "other", behaviour=behaviour, checkpoint=checkpoint)
    with pytest.raises(MaskError, match=rf"is no mask for .*/policy@candidate: .* the {said}"):
        promote(storage, publish(storage, M, "policy", other), "production", None, "by hand")
    assert current(storage, M, "policy", "production") is None


@OF_ANOTHER
def test_a_rollback_goes_back_to_nothing_that_could_not_be_promoted(
    storage: Storage, behaviour: str, checkpoint: str, said: str
) -> None:
    good, weak = mask(storage, "good"), mask(storage, "weak", gate="fail")
    other = mask(storage, "other", behaviour=behaviour, checkpoint=checkpoint)
    held = [publish(storage, M, "policy", prefix) for prefix in (good, weak, other, mask(storage, "now"))][-1]
    with pytest.raises(MaskError, match=rf"the {said}"):
        rollback(storage, held)
    with pytest.raises(MaskError, match=r"does not pass its gates \(fail: target\)"):
        rollback(storage, held, weak)
    assert current(storage, M, "policy") == held
    assert rollback(storage, held, good).mask == good


def test_a_card_that_cannot_be_read_proves_nothing(storage: Storage) -> None:
    output = StageOutput(storage, MaskStored, "odd", "0" * 16)
    output.commit([output.put("card.json", b"{}", rows=1)], MaskFacts(), rows_in=1)
    with pytest.raises(MaskError, match="is not one that this version reads"):
        promote(storage, publish(storage, M, "policy", output.prefix), "production", None, "by hand")
