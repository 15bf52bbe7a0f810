"""What may be published: nothing with labels that say nothing, and no mask that won on dev alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from mascing.conversations.json_lines import to_table
from mascing.conversations.splits import split_of
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import GatesConfig, ModelConfig, RunConfig, SplitConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet as tables
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.gate import gate, results_from
from mascing.tasks.robustness import robustness
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.stage import Body, run_stage
from mascing.testbeds.planted import behaviour_config, conversations

BEHAVIOUR = "jailbreak-defence"
SPEC = RouterSpec("olmoe", (0, 1), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)
TEST = [one for one in conversations(BEHAVIOUR, 0) if split_of(one.group_id, SplitConfig()) == "test"]

Hits = Callable[[Conversation], bool]


def by_itself(one: Conversation) -> bool:
    """What the unsteered model does: the labels of the testbed say it, and all else is right."""
    return one.label != "negative"


def run(
    folder: Path, rows: Sequence[Conversation], methods: Mapping[str, Hits], min_uplift: float = 0.1
) -> tuple[Manifest, Manifest]:
    """The robustness and gate stages on verdicts made by hand; the pool is not started where no mask passes."""
    storage = Storage.open(str(folder))
    whole = behaviour_config(BEHAVIOUR, str(folder))
    config = RunConfig(
        model=ModelConfig(path="unread"),
        behaviour=whole.model_copy(update={"truth": None}),
        gates=GatesConfig(min_uplift=min_uplift),
    )
    prepared = _stage(storage, "prepare", {"conversations-test.parquet": tables.to_bytes(to_table(rows))})
    picks = [
        Candidate(name, {"alpha": 1.0}, Mask.from_bias(torch.ones(2, 4), SPEC))
        for name in methods
        if name != "baseline"
    ]
    selected = _stage(storage, "select", {"selected.safetensors": candidate_files.to_bytes(picks)})
    evaluated = _stage(
        storage, "evaluate", {f"verdicts-{name}.parquet": _verdicts(name, rows, hits) for name, hits in methods.items()}
    )
    with Pool(config.compute) as pool:
        robust = robustness(storage, config, prepared, selected, evaluated, pool=pool).manifest
    return robust, gate(storage, config, prepared, selected, evaluated, robust).manifest


def _stage(storage: Storage, name: str, files: Mapping[str, bytes]) -> Manifest:
    def body(output: StageOutput) -> Body:
        shards = [output.put(file, data, 1) for file, data in files.items()]
        return Body(shards, rows_in=len(files))

    return run_stage(storage, name, BEHAVIOUR, identity={"files": sorted(files)}, inputs={}, body=body).manifest


def _verdicts(method: str, rows: Sequence[Conversation], hits: Hits) -> bytes:
    made = [
        {
            "conversation_id": one.id,
            "group_id": one.group_id,
            "set": one.set,
            "method": method,
            "reply": "a reply",
            "outcome": "hit" if hits(one) else "miss",
            "reason": "as told",
        }
        for one in rows
    ]
    return tables.to_bytes(pa.Table.from_pylist(made, schema=VERDICTS))


def permuted(rows: Sequence[Conversation]) -> list[Conversation]:
    labels = [one.label for one in rows if one.set == "target"]
    random.Random(0).shuffle(labels)
    given = iter(labels)
    return [one.model_copy(update={"label": next(given)}) if one.set == "target" else one for one in rows]


def test_with_permuted_labels_nothing_is_published_and_the_reason_says_so(tmp_path: Path) -> None:
    truth = {one.id: by_itself(one) for one in TEST}
    methods: dict[str, Hits] = {"baseline": lambda one: truth[one.id], "gradient": lambda one: True}
    robust, gated = run(tmp_path, permuted(TEST), methods)
    assert gated.facts["winner"] is None
    result = results_from(gated)["gradient"]
    failing = [reason for reason in result.reasons if " fails: " in reason]
    assert len(failing) == 1
    assert failing[0].startswith("labels fails: their agreement with the unsteered model's own replies, beyond chance")
    assert abs(gated.facts["labels"]["value"]) < 0.2
    assert robust.facts["conditions"] == []  # no conversation is judged for a mask that cannot be published


def test_results_stand_in_the_order_of_the_config_with_a_users_own_methods_before_the_control(tmp_path: Path) -> None:
    names = ("baseline", "random", "tilt", "shift", "gradient", "mascing")
    methods: dict[str, Hits] = {name: by_itself for name in names}
    _, gated = run(tmp_path, TEST, methods)
    assert list(results_from(gated)) == ["mascing", "gradient", "shift", "tilt", "random"]


@pytest.mark.parametrize("kept", [0.5, 1.0])
def test_a_mask_that_won_on_dev_and_does_nothing_on_test_is_not_published(tmp_path: Path, kept: float) -> None:
    # What it moves on the test split, it moves as often back.
    drawn = {one.id: random.Random(one.id).random() for one in TEST}
    methods: dict[str, Hits] = {
        "baseline": by_itself,
        "gradient": lambda one: by_itself(one) if one.set != "target" or drawn[one.id] < kept else not by_itself(one),
    }
    _, gated = run(tmp_path, TEST, methods)
    assert gated.facts["winner"] is None
    result = results_from(gated)["gradient"]
    assert [reason.partition(":")[0] for reason in result.reasons if " fails: " in reason] == ["target fails"]
    assert any(reason.startswith("labels passes") for reason in result.reasons)


def test_every_method_is_compared_with_baseline_and_control(tmp_path: Path) -> None:
    mended = {one.id for one in TEST[1::4] if one.label == "negative"}
    methods: dict[str, Hits] = {
        "baseline": by_itself,
        "gradient": lambda one: by_itself(one) or one.id in mended,
        "random": by_itself,
    }
    _, gated = run(tmp_path, TEST, methods, min_uplift=1)
    compared = {(one["method"], one["against"]): one for one in gated.facts["comparisons"]}
    assert list(compared) == [("gradient", "baseline"), ("random", "baseline"), ("gradient", "random")]
    targets = sum(one.set == "target" for one in TEST)
    against = compared["gradient", "random"]
    assert against["difference"]["value"] == pytest.approx(len(mended) / targets)
    assert against["mcnemar_p"] == pytest.approx(2 * 0.5 ** len(mended))
    assert against["holm_p"] == pytest.approx(3 * against["clustered_p"])
    assert compared["random", "baseline"]["mcnemar_p"] == compared["random", "baseline"]["holm_p"] == 1
