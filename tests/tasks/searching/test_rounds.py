"""A search in rounds on the pool: the masks of the search in one process, and no trial made twice."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray

from mascing.circuits.methods import searches_of, together
from mascing.engines.generation import complete_recorded
from mascing.masks import candidates as candidate_files
from mascing.runs.files import candidates_file
from mascing.runs.readers import contrast_of, conversations_of
from mascing.schemas.config import (
    BehaviourConfig,
    ComputeConfig,
    GenerationConfig,
    ModelConfig,
    RunConfig,
    SurrogateConfig,
)
from mascing.schemas.finished import Harvested, Labelled, Optimised, Trained
from mascing.schemas.settings.method_settings import ActiveConfig, MethodsConfig
from mascing.storage import parquet
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.searching import trials
from mascing.tasks.searching.items import Shared, material_of
from mascing.tasks.train import train
from mascing.tasks.workers.pool import Pool
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import EndsItsProcess, HerePool, MortalPool

COIN: Any = {"kind": "tests.tasks.coin_judge:coin"}
ACTIVE = ActiveConfig(budget=128, rounds=2, members=2, steps=3, l1=(0.02,), alphas=(1.0,), search_seeds=2)
GENERATIONS = ACTIVE.budget * ACTIVE.search_seeds


@dataclass(frozen=True)
class Line:
    """What optimise reads."""

    config: RunConfig
    storage: Storage
    labelled: Labelled
    harvested: Harvested
    trained: Trained

    def optimised(self, folder: Path, pool: Pool) -> tuple[Storage, Optimised]:
        """The stage, in a storage of its own that has what it reads."""
        storage = Storage.open(str(folder))
        for path in self.storage.list():
            storage.create(path, self.storage.read(path))
        return storage, self.again(storage, pool)

    def again(self, storage: Storage, pool: Pool) -> Optimised:
        return optimise(storage, self.config, self.labelled, self.harvested, self.trained, pool=pool).manifest


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    texts = [f"an odd question {number} {'and more of it ' * (number % 3)}" for number in range(48)]
    chats = [olmoe_folder.conversation(f"c{number}", text, label=None) for number, text in enumerate(texts)]
    (folder / "c.jsonl").write_text("".join(chat.model_dump_json() + "\n" for chat in chats))
    behaviour = BehaviourConfig(
        name="b", conversations=str(folder / "c.jsonl"), target=COIN, utility=COIN, protected=COIN, matching=None
    )
    config = RunConfig(
        model=ModelConfig(path=str(olmoe_folder.save(folder / "model"))),
        behaviour=behaviour,
        surrogate=SurrogateConfig(members=1, epochs=2, allow_confounded=True),
        methods=MethodsConfig(mascing=None, consensus=None, steermoe=None, gradient=None, refined=None, active=ACTIVE),
        generation=GenerationConfig(max_new_tokens=3, batch_size=16),
    )
    storage, pool = Storage.open(str(folder / "data")), HerePool()
    prepared = prepare(storage, config).manifest
    labelled = label(storage, config, prepared, pool=pool).manifest
    harvested = harvest(storage, config, labelled, pool=pool).manifest
    trained = train(storage, config, labelled, harvested, pool=pool).manifest
    return Line(config, storage, labelled, harvested, trained)


@pytest.fixture(scope="module")
def expected(line: Line) -> bytes:
    """The candidates of the whole search in one process."""
    rows = conversations_of(line.storage, line.labelled, "train")
    shared = Shared(line.config, line.storage, rows, contrast_of(rows), line.harvested, line.trained)
    material, search = material_of(HerePool().worker, shared), searches_of(line.config.methods)["active"]
    proposals = [search(material, number, ACTIVE.search_seeds) for number in range(ACTIVE.search_seeds)]
    return candidate_files.to_bytes(together(proposals).candidates)


def found(storage: Storage, optimised: Optimised) -> bytes:
    return read_shard(storage, optimised, candidates_file("active"))


class CountingPool(HerePool):
    """Counts the replies that its worker generates, and ends the run when as many items are done as it may do."""

    def __init__(self, items: int = sys.maxsize) -> None:
        super().__init__()
        self.replies, self._left = 0, items
        self.worker.count = self._count  # type: ignore[method-assign]

    def _count(self, name: str, number: int) -> None:
        self.replies += number if name == "replies" else 0

    def result(self, function: Any, shared: Any, item: Any) -> Any:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return super().result(function, shared, item)


def test_shared_trials_find_the_masks_of_the_whole_search(line: Line, expected: bytes, tmp_path: Path) -> None:
    pool = CountingPool()
    storage, optimised = line.optimised(tmp_path, pool)
    assert found(storage, optimised) == expected
    assert pool.replies == GENERATIONS
    assert len(storage.list("trials")) == GENERATIONS / line.config.generation.batch_size


@pytest.mark.parametrize("items", [1, 3, 7, 11, 20])
def test_a_search_that_was_killed_goes_on_where_it_was(line: Line, expected: bytes, tmp_path: Path, items: int) -> None:
    killed, further = CountingPool(items), CountingPool()
    with pytest.raises(KeyboardInterrupt):
        line.optimised(tmp_path, killed)
    storage = Storage.open(str(tmp_path))
    optimised = line.again(storage, further)
    assert found(storage, optimised) == expected
    assert killed.replies + further.replies == GENERATIONS


def test_two_workers_share_the_trials_and_find_the_same(line: Line, expected: bytes, tmp_path: Path) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with Pool(ComputeConfig(workers=2), line.config.model) as pool:
        storage, optimised = line.optimised(tmp_path, pool)
    assert found(storage, optimised) == expected


@pytest.mark.parametrize("error", [ValueError("not finite"), EndsItsProcess()], ids=["raises", "ends its worker"])
def test_a_trial_without_a_reply_is_set_aside_and_the_search_goes_on(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    plain, fatal = complete_recorded, set[tuple[str, str]]()

    def complete(loaded: Any, prompts: Any, masks: Any, *others: Any) -> Any:
        asked = [(prompt.conversation_id, mask.digest) for prompt, mask in zip(prompts, masks, strict=True)]
        fatal.add(asked[0]) if not fatal else None
        if not fatal.isdisjoint(asked):
            raise error
        return plain(loaded, prompts, masks, *others)

    monkeypatch.setattr(trials, "complete_recorded", complete)
    with caplog.at_level("INFO"):
        storage, optimised = line.optimised(tmp_path, MortalPool())
    cost = optimised.facts.costs["active"].trials
    assert cost is not None
    assert (cost.generations, optimised.facts.candidates) == (GENERATIONS - 1, {"active": ACTIVE.search_seeds})
    assert "active: 1 trial gave no reply; the reason is in trials/" in caplog.text
    pieces = [parquet.from_bytes(storage.read(path), path) for path in storage.list("trials")]
    [reason] = [reason for piece in pieces for reason in piece["failure"].to_pylist() if reason is not None]
    assert reason in ("ValueError: not finite", "connection error code 2")
    again = CountingPool()
    assert found(storage, line.again(storage, again)) == found(storage, optimised)
    assert again.replies == 0


def test_a_changed_grid_takes_all_trials_from_the_store(line: Line, tmp_path: Path) -> None:
    """They are named by what made them, not by the stage that asked for them."""
    first, again = CountingPool(), CountingPool()
    storage, _ = line.optimised(tmp_path, first)
    wider = line.config.methods.model_copy(update={"active": ACTIVE.model_copy(update={"alphas": (1.0, 2.0)})})
    other = replace(line, config=line.config.model_copy(update={"methods": wider}))
    assert other.again(storage, again).facts.candidates == {"active": 2 * ACTIVE.search_seeds}
    assert (first.replies, again.replies) == (GENERATIONS, 0)
