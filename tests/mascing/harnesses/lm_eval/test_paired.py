"""The paired comparison: the same samples twice, with a paired interval and test, or a refusal."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from mascing.errors import DataError
from mascing.harnesses.lm_eval import paired
from mascing.harnesses.lm_eval.steered_lm import SteeredLM
from mascing.harnesses.lm_eval.task_change import TaskChanges
from mascing.schemas.verdict import Outcome
from mascing.statistics import holm, paired_difference, paired_p
from tests.mascing.harnesses.steered_folder import SteeredFolder


@pytest.fixture(scope="module")
def model(steered_files: SteeredFolder) -> SteeredLM:
    return SteeredLM(str(steered_files.model), str(steered_files.mask), batch_size=8)


def compared(model: SteeredLM, task: Path, **options: Any) -> TaskChanges:
    manager = TaskManager(include_path=str(task.parent), include_defaults=False)
    return paired.task_changes(model, manager.all_subtasks, task_manager=manager, **options)


@pytest.fixture(scope="module")
def changes(model: SteeredLM, arc_easy: Path) -> TaskChanges:
    return compared(model, arc_easy, cluster="passage")


def test_the_difference_is_paired_clustered_and_adjusted(changes: TaskChanges, steered_files: SteeredFolder) -> None:
    before, after = (results["samples"]["arc_easy_of_ours"] for results in (changes.before, changes.after))
    groups = [f"p{number // 4}" for number in range(24)]
    assert [row["acc"] for row in before] != [row["acc"] for row in after]
    hits: list[Outcome]
    others: list[Outcome]
    wanted = {}
    for metric in ("acc", "acc_norm"):
        hits, others = (["hit" if row[metric] else "miss" for row in side] for side in (before, after))
        wanted[metric] = paired_difference(hits, others, groups), paired_p(hits, others, groups)
    assert {change.metric: (change.difference, change.p) for change in changes.changes} == wanted
    adjusted = holm({metric: p for metric, (_, p) in wanted.items()})
    assert {change.metric: change.holm_p for change in changes.changes} == adjusted
    acc = changes.changes[0]
    assert acc.before is not None
    assert acc.after is not None
    assert acc.difference is not None
    assert acc.difference.value == pytest.approx(acc.after - acc.before)
    assert changes.mascing["mask_digest"] == steered_files.loaded_mask.digest
    assert changes.before["config"]["mascing"]["mask_digest"] is None


def test_the_table_shows_it(changes: TaskChanges) -> None:
    rows = list(changes.rows())
    assert [row[:3] for row in rows] == [("arc_easy_of_ours", "acc", "24"), ("arc_easy_of_ours", "acc_norm", "24")]
    assert changes.as_json()["changes"][0]["difference"]["n"] == 24


def sample(number: int, **changes: Any) -> dict[str, Any]:
    return {"doc_id": number, "filter": "none", "doc_hash": "d", "prompt_hash": "p", "target_hash": "t", **changes}


def test_runs_of_other_samples_are_no_pairs() -> None:
    with pytest.raises(DataError, match="t: the run with the mask answered other documents"):
        paired._paired("t", [sample(0), sample(1)], [sample(0)])
    with pytest.raises(DataError, match="t: prompt_hash of document 1 differ between the runs"):
        paired._paired("t", [sample(0), sample(1)], [sample(0), sample(1, prompt_hash="another")])


def test_a_metric_that_is_a_number_is_tested_and_one_that_is_none_is_shown() -> None:
    before = [sample(number, metrics=["f1", "word_perplexity"], f1=0.5, word_perplexity=(-9.0, 3)) for number in (0, 1)]
    after = [{**row, "f1": 0.5 + 0.25 * row["doc_id"]} for row in before]
    plain, steered = (
        {"samples": {"t": rows}, "results": {"t": {"word_perplexity,none": 4.0}}} for rows in (before, after)
    )
    f1, perplexity = paired._changes_of("t", plain, steered, cluster=None)
    assert f1.difference is not None
    assert f1.difference.value == pytest.approx(0.125)
    assert f1.difference.low < 0 < f1.difference.high
    assert (perplexity.before, perplexity.difference, perplexity.p) == (4.0, None, None)


def test_documents_without_the_field_to_cluster_by_are_refused() -> None:
    run = {"samples": {"t": [sample(0, doc={"title": "a", "id": 1})]}, "results": {"t": {}}}
    with pytest.raises(DataError, match="t: its documents have no field 'chapter' to cluster by; they have id, title"):
        list(paired._changes_of("t", run, run, cluster="chapter"))
