"""The end of a run: a folder of its own, and a result that says what the channel holds afterwards."""

from pathlib import Path

import pytest

from mascing.cli import main
from mascing.engines import installed
from mascing.errors import MaskError, StorageError
from mascing.masks.mask import Mask
from mascing.masks.unproven import why_unproven
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs import registry
from mascing.runs.finished_run import read_inputs, read_result, stages_at
from mascing.runs.mask_address import mask_url
from mascing.runs.run_folder import RunFolder, find_run
from mascing.schemas.cards.mask_card import UnprovenCard
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import MaskFacts, PublishFacts
from mascing.schemas.finished import MaskStored, Published, RunStages
from mascing.schemas.result import HeldChannel, UnprovenMask
from mascing.schemas.settings.engine_settings import VllmEngine
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json
from mascing.tasks.conclude import conclude
from tests.mascing.report.run_on_disk import FOLDER, write_run

BEHAVIOUR = "jailbreak-defence"
MODEL = NamedCheckpoint("testbed-olmoe", "c" * 64)
ADDRESS = "testbed-olmoe-cccccccccccc/jailbreak-defence@candidate"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A storage with the stages of a run up to its gate."""
    storage = Storage.open(str(tmp_path / "storage"))
    write_run(storage, methods=("gradient",))
    return storage


def stages_of(storage: Storage, mask: str | None, fingerprint: str = "1" * 16) -> tuple[RunConfig, RunStages]:
    inputs = read_inputs(storage, FOLDER)
    output = StageOutput(storage, Published, BEHAVIOUR, fingerprint)
    facts = PublishFacts(winner="gradient" if mask else None, masks=mask)
    stages = stages_at(storage, {**inputs.stages, "publish": output.commit([], facts, rows_in=0).prefix})
    return inputs.run_config, stages


def mask(storage: Storage, fingerprint: str) -> str:
    """A published mask."""
    output = StageOutput(storage, MaskStored, BEHAVIOUR, fingerprint * 16)
    prefix = output.commit([output.put("card.json", b"{}", 0)], MaskFacts(), rows_in=0).prefix
    registry.publish(storage, MODEL, BEHAVIOUR, prefix)
    return prefix


def test_a_run_leaves_its_files_in_a_folder_of_its_own_and_the_index_at_the_root(storage: Storage) -> None:
    folder = conclude(storage, *stages_of(storage, mask(storage, "a")), {"gate": 1.0})
    assert folder == RunFolder(f"{BEHAVIOUR}-testbed-olmoe-{'1' * 16}") == find_run(storage).folder
    left = [path.removeprefix(f"{folder.prefix}/") for path in storage.list(folder.prefix)]
    assert left == ["inputs.json", "report/index.html", "result.json", "run.yaml"]
    assert [path for path in storage.list() if "/" not in path] == ["index.html"]


def test_the_same_run_again_goes_to_the_same_folder_and_another_does_not(storage: Storage) -> None:
    published = mask(storage, "a")
    folders = [
        conclude(storage, *stages_of(storage, published, fingerprint), {}).name
        for fingerprint in ("1" * 16, "2" * 16, "1" * 16)
    ]
    assert folders[0] == folders[2] != folders[1]


def test_the_result_says_which_engine_replied_and_its_version(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "vllm_version", lambda: "0.32.0")
    config, stages = stages_of(storage, mask(storage, "a"))
    for engine, version in (config.engine, None), (VllmEngine(), "0.32.0"):
        result = read_result(storage, conclude(storage, config.model_copy(update={"engine": engine}), stages, {}))
        assert (result.engine, result.versions.get("vllm")) == (engine.kind, version)


def test_the_result_says_what_the_channel_holds(storage: Storage) -> None:
    published = mask(storage, "a")
    result = read_result(storage, conclude(storage, *stages_of(storage, published), {}))
    assert (result.published, result.mask) == ("gradient", published)
    assert result.channel == HeldChannel(address=ADDRESS, mask=published)


def test_the_result_says_that_another_run_moved_the_channel_meanwhile(storage: Storage) -> None:
    published, other = mask(storage, "a"), mask(storage, "b")
    result = read_result(storage, conclude(storage, *stages_of(storage, published), {}))
    assert (result.mask, result.channel) == (published, HeldChannel(address=ADDRESS, mask=other))


def test_the_result_says_how_far_to_trust_the_methods(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "other"))
    write_run(storage, methods=("steermoe", "gradient"))
    trust = read_result(storage, conclude(storage, *stages_of(storage, None), {})).trust
    assert trust is not None
    assert [(seed.search_seed, seed.within_noise) for seed in trust.seeds["gradient"].seeds] == [
        (0, True),
        (1, False),
        (2, True),
    ]
    [pair] = trust.agreement
    assert (pair.methods, pair.pruned) == (("steermoe", "gradient"), None)
    assert 0 < pair.full.shared <= pair.full.entries[1] == 6


def test_a_run_that_publishes_nothing_keeps_its_strongest_mask_and_says_what_would_change_the_decision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage.open(str(tmp_path / "other"))
    write_run(storage, methods=("steermoe", "gradient"), min_uplift=0.6)
    folder = conclude(storage, *stages_of(storage, None), {})
    result = read_result(storage, folder)
    assert result.unproven == UnprovenMask(method="gradient", mask=f"{folder.prefix}/unproven")
    mask = Mask.from_bytes(storage.read(f"{result.unproven.mask}/mask.safetensors"))
    card = UnprovenCard.model_validate_json(open_json(storage.read(f"{result.unproven.mask}/card.json"), "card"))
    why = f"not published by {folder.prefix}, for it missed target on test"
    assert why_unproven(mask) == card.unproven == why
    assert card.mask_digest == mask.digest
    assert (card.method, card.result) == ("gradient", result.methods["gradient"])
    assert list(result.remedies) == ["steermoe", "gradient"]
    assert {remedy.gate for remedy in result.remedies["gradient"]} == {"target"}
    for address in (folder.prefix, result.unproven.mask):
        assert main(["mask", "show", address, "--storage", storage.url]) == 0
        assert capsys.readouterr().out.startswith(f"UNPROVEN    {why}\n")
    assert main(["registry", "promote", result.unproven.mask, "production", "--storage", storage.url]) == 1
    assert "unproven, and goes to no channel" in capsys.readouterr().err


def test_a_flipped_bit_of_a_mask_that_was_kept_or_of_its_card_is_noticed(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    write_run(storage, methods=("steermoe", "gradient"), min_uplift=0.6)
    folder = conclude(storage, *stages_of(storage, None), {})
    for name in ("mask.safetensors", "card.json"):
        path = tmp_path / folder.unproven / name
        content = path.read_bytes()
        for place in range(0, len(content), 7):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            for address in (folder.prefix, folder.unproven, str(tmp_path / folder.prefix)):
                with pytest.raises(StorageError, match=f"^checksum failed: {tmp_path / folder.unproven}/"):
                    mask_url(address, storage.url)
        path.write_bytes(content)
        assert mask_url(folder.prefix, storage.url).endswith("mask.safetensors")


def test_a_run_that_publishes_keeps_nothing_unproven(storage: Storage) -> None:
    folder = conclude(storage, *stages_of(storage, mask(storage, "a")), {})
    result = read_result(storage, folder)
    assert (result.unproven, result.remedies) == (None, {})
    with pytest.raises(MaskError, match="keeps no mask: it published one"):
        mask_url(folder.prefix, storage.url)
    with pytest.raises(MaskError, match="there is no mask at runs/nowhere"):
        mask_url("runs/nowhere", storage.url)


def test_a_run_that_publishes_nothing_says_what_the_channel_still_holds(storage: Storage) -> None:
    earlier = mask(storage, "a")
    result = read_result(storage, conclude(storage, *stages_of(storage, None), {}))
    assert (result.published, result.mask) == (None, None)
    assert result.channel == HeldChannel(address=ADDRESS, mask=earlier)
