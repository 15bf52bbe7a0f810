"""The end of a run: a folder of its own, and a result that says what the channel holds afterwards."""

from pathlib import Path

import pytest

from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs import registry
from mascing.runs.finished_run import read_inputs, read_result, stages_at
from mascing.runs.run_folder import RunFolder, find_run
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import MaskFacts, PublishFacts
from mascing.schemas.finished import MaskStored, Published, RunStages
from mascing.schemas.result import HeldChannel
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
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


def test_a_run_that_publishes_nothing_says_what_the_channel_still_holds(storage: Storage) -> None:
    earlier = mask(storage, "a")
    result = read_result(storage, conclude(storage, *stages_of(storage, None), {}))
    assert (result.published, result.mask) == (None, None)
    assert result.channel == HeldChannel(address=ADDRESS, mask=earlier)
