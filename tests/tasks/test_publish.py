"""Publication: nothing is published if no method passed; the model has a stable name."""

from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest

from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.models.checkpoints import model_name
from mascing.runs import registry
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.facts import MaskFacts, PublishFacts
from mascing.schemas.finished import Gated, Harvested, MaskStored, Prepared, Published, Selected
from mascing.schemas.manifest import Manifest
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.publish import publish, recipe

M = TypeVar("M", bound=Manifest)


EXACT = ExactJudge()
MODEL = NamedCheckpoint("model", "c" * 64)
CONFIG = RunConfig(
    model=ModelConfig(path="./model"),
    behaviour=BehaviourConfig(name="policy", conversations="x", target=EXACT, utility=EXACT, protected=EXACT),
)


def finished(leaves: type[M], **facts: object) -> M:
    """A finished stage without shards; only the facts that these tests need are valid."""
    return leaves.model_construct(
        stage=leaves.stage_name(), name="policy", fingerprint="0" * 16, facts=SimpleNamespace(**facts)
    )


def inputs_of(winner: str | None) -> tuple[Prepared, Harvested, Selected, Gated]:
    """The stages that a publication reads."""
    harvested = finished(Harvested, checkpoint=MODEL.fingerprint)
    return finished(Prepared), harvested, finished(Selected), finished(Gated, winner=winner)


def stored_mask(storage: Storage, fingerprint: str) -> str:
    return StageOutput(storage, MaskStored, "policy", fingerprint).commit([], MaskFacts(), rows_in=0).prefix


def test_a_publication_that_was_done_already_moves_the_channel_back_to_its_mask(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    earlier, later = stored_mask(storage, "a" * 16), stored_mask(storage, "b" * 16)
    inputs = inputs_of(winner="gradient")
    done = recipe(CONFIG, *inputs)
    facts = PublishFacts(winner="gradient", masks=earlier)
    StageOutput(storage, Published, done.name, done.fingerprint).commit([], facts, rows_in=0)
    registry.publish(storage, MODEL, "policy", later)
    assert publish(storage, CONFIG, *inputs).reused
    channel = registry.current(storage, MODEL, "policy")
    assert channel is not None
    assert (channel.mask, channel.history) == (earlier, (later,))
    assert channel.moves[-1].why == f"published by the run policy-model-{done.fingerprint}, whose gates it passes"


def test_nothing_is_published_where_no_method_passed(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    inputs = inputs_of(winner=None)
    published = publish(storage, CONFIG, *inputs).manifest
    assert published.facts == PublishFacts(winner=None, masks=None)
    assert storage.list("masks") == []
    assert storage.list("registry") == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("allenai/OLMoE-1B-7B-0924", "allenai/OLMoE-1B-7B-0924"),
        ("./models/olmoe/", "olmoe"),
        ("/data/olmoe", "olmoe"),
        ("~/olmoe", "olmoe"),
        ("models/served/olmoe", "olmoe"),
        (".", Path.cwd().name),
        ("./models/..", Path.cwd().name),
        ("s3://bucket/testbed/olmoe-seed0-0123", "olmoe-seed0-0123"),
    ],
)
def test_a_model_goes_by_its_hub_id_or_the_last_part_of_its_place(path: str, name: str) -> None:
    assert model_name(ModelConfig(path=path)) == name
