"""The train stage on the testbed's model: data whose form reveals the classes, and permuted labels."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mascing.conversations.parquet_tables import to_table
from mascing.conversations.splits import SPLITS
from mascing.errors import DataError
from mascing.progress import Event, heard
from mascing.runs.files import conversations_prefix
from mascing.runs.readers import conversations_of, surrogates_of
from mascing.runs.table_parts import put_parts
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.schemas.config import ComputeConfig, MatchingConfig, SurrogateConfig
from mascing.schemas.finished import Labelled, Prepared, Trained
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.surrogates.confounds import confounds
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from mascing.tasks.train import train
from mascing.tasks.workers.pool import Pool
from mascing.topics.doubts import topic_checks
from tests.small_run import small_config

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(ComputeConfig(workers=1)) as pool:
        yield pool


@pytest.fixture
def trained(testbed_folder: Path, tmp_path: Path, pool: Pool) -> Callable[..., tuple[Storage, Trained]]:
    """The output of the stages up to train on the conversations that ``change`` returns.

    Without matching, the labels are those of the conversations and not the model's own.
    """

    def run(change: Callable[[Rows], Rows], matching: Any = None, **surrogate: Any) -> tuple[Storage, Trained]:
        config = small_config(testbed_folder, tmp_path)
        path = Path(str(config.behaviour.conversations))
        rows = change([json.loads(line) for line in path.read_text().splitlines()])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = config.model_copy(
            update={
                "behaviour": config.behaviour.model_copy(update={"matching": matching}),
                "surrogate": SurrogateConfig(members=2, epochs=8, **surrogate),
            }
        )
        storage = Storage.open(str(tmp_path / "storage"))
        prepared = prepare(storage, config).manifest
        labelled = label(storage, config, prepared, pool=pool).manifest
        if matching is None:
            labelled = as_brought(storage, prepared, labelled)
        harvested = harvest(storage, config, labelled, pool=pool).manifest
        return storage, train(storage, config, labelled, harvested, pool=pool).manifest

    return run


def as_brought(storage: Storage, prepared: Prepared, labelled: Labelled) -> Labelled:
    """The label stage as if the model's own labels were those of the file."""
    output = StageOutput(storage, Labelled, "as-brought", prepared.fingerprint)
    shards = []
    for split in SPLITS:
        rows = conversations_of(storage, prepared, split)
        shards += put_parts(output, conversations_prefix(split), [to_table(rows)])
    return output.commit(shards, labelled.facts, rows_in=sum(shard.rows for shard in shards))


def multi_turn_against_single_turn(rows: Rows) -> Rows:
    """Repeat the mistake of the published reference: only one class keeps its earlier turns."""
    return [row | {"messages": row["messages"][-1:]} if row.get("label") == "negative" else row for row in rows]


def labels_at_random(rows: Rows) -> Rows:
    labelled = [row for row in rows if "label" in row]
    labels = random.Random(0).sample([row["label"] for row in labelled], len(labelled))
    for row, drawn in zip(labelled, labels, strict=True):
        row["label"] = drawn
    return rows


def covers(card: SurrogateCard) -> bool:
    return card.auc.low < 0.5 < card.auc.high


def test_classes_that_differ_in_form_stop_the_flow_unless_it_is_allowed(
    trained: Callable[..., tuple[Storage, Trained]],
) -> None:
    with pytest.raises(DataError) as refused:
        trained(multi_turn_against_single_turn)
    message = str(refused.value)
    assert "the number of user turns alone reaches an AUC of 1.000" in message
    assert "the surrogate of span question+prompt " in message
    assert "--allow-confounded" in message
    storage, manifest = trained(multi_turn_against_single_turn, allow_confounded=True)
    assert set(manifest.facts.cards["question+prompt"].explained_by) >= {"turns", "length"}
    assert len(surrogates_of(storage, manifest, ("question+prompt",))["question+prompt"]) == 2
    with pytest.raises(DataError, match="form explains the surrogate"):
        trained(multi_turn_against_single_turn)  # also if the stage is already done


def test_the_testbeds_pairs_are_told_apart_by_routing_alone(trained: Callable[..., tuple[Storage, Trained]]) -> None:
    events: list[Event] = []
    with heard(events.append):
        _, manifest = trained(lambda rows: rows, matching=MatchingConfig())
    assert any("topic does not explain the" in event.text for event in events if event.stage == "train")
    assert {check.state for check in topic_checks(manifest.facts).values()} == {"clear"}
    card = manifest.facts.cards["question+prompt"]
    assert card.auc.low > 0.7
    assert [card.trivial[name].auc.value for name in ("turns", "length", "tokens")] == [0.5] * 3
    assert card.trivial["words"].auc.value < card.auc.value
    assert card.control.low < 0.5 < card.control.high
    assert confounds(card) == []
    null = manifest.facts.experts["question+prompt"]
    assert null.topics.missing == ""
    assert null.topic is not None
    assert card.topic is not None
    assert null.random.weaker == 1.0
    sizes = [abs(expert.risk_difference) for expert in null.listed]
    assert null.effect == pytest.approx(sum(sizes) / len(sizes), abs=1e-5)


def test_permuted_labels_are_not_learned(trained: Callable[..., tuple[Storage, Trained]]) -> None:
    _, manifest = trained(labels_at_random)
    assert all(covers(card) for card in manifest.facts.cards.values())


def test_a_surrogate_learns_from_as_many_traces_as_are_allowed(trained: Callable[..., tuple[Storage, Trained]]) -> None:
    from_all, from_few = (trained(lambda rows: rows, MatchingConfig(), traces=n)[1] for n in (1000, 48))
    assert from_all.fingerprint != from_few.fingerprint
    all_hashes, few_hashes = ({shard.sha256: shard.name for shard in each.shards} for each in (from_all, from_few))
    same = {all_hashes[digest] for digest in all_hashes.keys() & few_hashes.keys()}
    assert same == {f"experts-{span}.json" for span in from_all.facts.experts}  # of the selections, and no surrogate
    assert from_few.facts.cards["question+prompt"].auc.value > 0.7
