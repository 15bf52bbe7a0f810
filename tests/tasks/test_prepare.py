"""The prepare stage: every row is split or quarantined, and data without target conversations is refused."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow.parquet as pq
import pytest

from mascing.conversations.splits import SPLITS
from mascing.errors import DataError
from mascing.judges.given_replies import given_replies
from mascing.runs.readers import conversations_of
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.settings.columns import Columns
from mascing.schemas.settings.judge_settings import ExactJudge, RefusalJudge
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks import prepare as preparing
from mascing.tasks.prepare import prepare
from tests.mascing import olmoe_folder

EXACT, JUDGE = ExactJudge(), RefusalJudge(phrases=("no",))


def row(number: int, **changes: Any) -> str:
    label = "positive" if number % 2 else "negative"
    fields = {"id": f"c{number}", "group_id": f"g{number // 2}", "label": label, "messages": [user("hello")]}
    return json.dumps(fields | changes)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@cache
def model() -> str:
    return str(olmoe_folder.save(Path(mkdtemp())))


def config_for(path: str, max_characters: int = 1000) -> RunConfig:
    behaviour = BehaviourConfig(
        name="policy",
        conversations=path,
        target=JUDGE,
        utility=ExactJudge(),
        protected=JUDGE,
        max_characters=max_characters,
    )
    return RunConfig(model=ModelConfig(path=model()), behaviour=behaviour)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "storage"))


def written(folder: Path, lines: list[str]) -> RunConfig:
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return config_for(str(folder / "rows.jsonl"))


def test_every_row_is_in_one_split_and_no_group_in_two(tmp_path: Path, storage: Storage) -> None:
    prepared = prepare(storage, written(tmp_path, [row(number) for number in range(200)])).manifest
    splits = [conversations_of(storage, prepared, split) for split in SPLITS]
    assert sorted(conversation.id for rows in splits for conversation in rows) == sorted(
        f"c{number}" for number in range(200)
    )
    groups = [{conversation.group_id for conversation in rows} for rows in splits]
    assert sum(len(names) for names in groups) == 100
    assert sum(prepared.facts.splits.model_dump().values()) == 200
    assert prepared.facts.sets["train"] == {"target": prepared.facts.splits.train}


def test_unusable_rows_are_kept_aside_with_the_reason(tmp_path: Path, storage: Storage) -> None:
    bad = ["not json", row(7), row(900, messages=[]), row(901, messages=[user("x" * 2000)])]
    prepared = prepare(storage, written(tmp_path, [row(number) for number in range(100)] + bad)).manifest
    assert (prepared.rows_in, prepared.rows_out, prepared.rows_quarantined) == (104, 100, 4)
    quarantine = pq.read_table(storage.locate(f"{prepared.prefix}/quarantine.parquet")).to_pylist()
    assert [row["row"] for row in quarantine] == [101, 102, 103, 104]
    assert "not JSON" in quarantine[0]["reason"]
    assert "duplicate id" in quarantine[1]["reason"]
    assert "over-long" in quarantine[3]["reason"]
    assert read_shard(storage, prepared, "quarantine.parquet")


def test_the_same_rows_are_the_same_work_wherever_they_lie(tmp_path: Path, storage: Storage) -> None:
    lines = [row(number) for number in range(100)]
    first = prepare(storage, written(tmp_path, lines))
    (tmp_path / "elsewhere").mkdir()
    second = prepare(storage, written(tmp_path / "elsewhere", lines))
    assert second.reused
    assert second.manifest == first.manifest
    assert not prepare(storage, written(tmp_path, [*lines, row(100)])).reused


def test_the_columns_of_other_layouts_are_read_as_the_config_says(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("ask,town\n" + "".join(f"Which bread {number}?,Ulm\n" for number in range(60)))
    behaviour = config_for(str(path)).behaviour.model_copy(update={"columns": Columns(user="{ask} Where: {town}")})
    config = config_for(str(path)).model_copy(update={"behaviour": behaviour})
    prepared = prepare(storage, config).manifest
    (first, *_) = conversations_of(storage, prepared, "train")
    assert first.messages[0].content.endswith("? Where: Ulm")
    other = behaviour.model_copy(update={"columns": Columns(user="ask")})
    assert not prepare(storage, config.model_copy(update={"behaviour": other})).reused


def test_several_sources_make_one_run_that_is_found_again_wherever_their_rows_lie(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def run(folder: str, loaves: int) -> RunConfig:
        (tmp_path / folder).mkdir()
        asked, facts = tmp_path / folder / "asked.csv", tmp_path / folder / "facts.jsonl"
        asked.write_text("goal\n" + "".join(f"Name bread {number}\n" for number in range(60)))
        rows = [{"question": f"Loaf {number}?", "answer": f"{number}"} for number in range(loaves)]
        facts.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {"question": "Loaf?", "answer": None}]))
        sources = [
            {"name": "asked", "file": str(asked), "set": "target"},
            {"name": "facts", "dataset": {"path": "json", "files": [str(facts)]}, "set": "utility/facts"},
        ]
        behaviour = {"name": "policy", "conversations": sources, "target": JUDGE, "utility": EXACT, "protected": JUDGE}
        return RunConfig(model=ModelConfig(path=model()), behaviour=BehaviourConfig.model_validate(behaviour))

    first = prepare(storage, run("here", 40))
    assert (first.manifest.rows_in, first.manifest.rows_quarantined) == (101, 1)
    quarantine = pq.read_table(storage.locate(f"{first.manifest.prefix}/quarantine.parquet")).to_pylist()
    assert "has no answer to compare with" in quarantine[0]["reason"]
    sets = {name for counts in first.manifest.facts.sets.values() for name in counts}
    assert sets == {"target", "utility/facts"}
    assert prepare(storage, run("there", 40)).reused
    assert not prepare(storage, run("changed", 41)).reused


def test_a_goal_that_two_sources_ask_for_is_one_group(tmp_path: Path, storage: Storage) -> None:
    sources = []
    for name, asked in (("plain", "target"), ("framed", "protected/framed")):
        rows = [
            row(number, messages=[user(f"{name} request {number}")], set=asked, label=None) for number in range(120)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        sources.append({"name": name, "file": str(tmp_path / f"{name}.jsonl")})
    behaviour = {"name": "policy", "conversations": sources, "target": JUDGE, "utility": EXACT, "protected": JUDGE}
    config = RunConfig(model=ModelConfig(path=model()), behaviour=BehaviourConfig.model_validate(behaviour))
    prepared = prepare(storage, config).manifest
    splits = [conversations_of(storage, prepared, split) for split in SPLITS]
    groups = [{conversation.group_id for conversation in rows} for rows in splits]
    assert sum(len(names) for names in groups) == len(set().union(*groups)) == 60
    assert sum(len({conversation.id for conversation in rows}) for rows in splits) == 240


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no conversations"),
        (["{}", "[]"], "none of the 2 conversations can be used"),
        ([row(0), row(1)], "split of .* has no conversation of set `target`"),
        (
            [row(number, set="utility/benign", wanted="yes") for number in range(100)],
            "has no conversation of set `target`",
        ),
    ],
)
def test_data_without_conversations_to_judge_is_refused(
    lines: list[str], message: str, tmp_path: Path, storage: Storage
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        prepare(storage, written(tmp_path, lines))
    # What was set aside is left where the message says, and no manifest.
    left = storage.list("prepare")
    assert [storage.locate(path) in str(refused.value) for path in left] == [True] * lines.count("{}")
    assert all(path.endswith("/quarantine.parquet") for path in left)


def test_a_set_that_is_set_aside_as_a_whole_stops_the_run_however_few_rows_it_has(
    tmp_path: Path, storage: Storage
) -> None:
    (tmp_path / "asked.csv").write_text("goal\n" + "".join(f"Name bread {number}\n" for number in range(60)))
    (tmp_path / "guard.csv").write_text(f"goal\nName {'very ' * 20}bad bread\n")
    sources = [
        {"name": "asked", "file": str(tmp_path / "asked.csv"), "set": "target"},
        {"name": "guard", "file": str(tmp_path / "guard.csv"), "set": "protected/guard"},
    ]
    kinds = {"target": JUDGE, "utility": EXACT, "protected": JUDGE}
    behaviour = {"name": "policy", "conversations": sources, **kinds, "max_characters": 50}
    config = RunConfig(model=ModelConfig(path=model()), behaviour=BehaviourConfig.model_validate(behaviour))
    with pytest.raises(DataError, match=r"no row of set protected/guard can be used, .*max_characters, 50"):
        prepare(storage, config)
    longer = config.behaviour.model_copy(update={"max_characters": 500})
    assert prepare(storage, config.model_copy(update={"behaviour": longer})).manifest.rows_quarantined == 0


@pytest.mark.parametrize("path", ["nowhere.jsonl", ".", "ftpx://host/rows.jsonl"])
def test_a_file_that_cannot_be_read_is_said(path: str, storage: Storage) -> None:
    with pytest.raises(DataError, match="cannot read"):
        prepare(storage, config_for(path))


def test_rows_that_the_model_or_a_judge_cannot_use_are_set_aside_with_all_complaints(
    tmp_path: Path, storage: Storage
) -> None:
    rows = [row(number) for number in range(100)]
    rows += [row(101, messages=[user("hello " * 150)]), row(102, set="utility/places")]
    rows += [row(103, set="utility/places", messages=[user("hello " * 150)])]
    prepared = prepare(storage, written(tmp_path, ["", *rows])).manifest
    quarantine = pq.read_table(storage.locate(f"{prepared.prefix}/quarantine.parquet")).to_pylist()
    # The numbers are those of the lines in the file, of which one is blank.
    assert [(row["id"], row["row"]) for row in quarantine] == [("c101", 102), ("c102", 103), ("c103", 104)]
    too_long, unjudged, both = (row["reason"] for row in quarantine)
    assert "does not fit" in too_long
    assert "the judge of utility (exact) cannot judge it" in unjudged
    assert "does not fit" in both
    assert "cannot judge it" in both


def test_too_many_unusable_rows_stop_the_run_and_leave_their_reasons(tmp_path: Path, storage: Storage) -> None:
    config = written(tmp_path, [row(number) for number in range(100)] + ["not json"] * 10)
    with pytest.raises(DataError, match=r"10 of 110 conversations.*max_quarantined \(5%\).*not JSON"):
        prepare(storage, config)
    assert prepare(storage, config.model_copy(update={"max_quarantined": 0.2})).reused


def test_a_judge_that_does_not_read_the_given_replies_stops_the_run(tmp_path: Path, storage: Storage) -> None:
    rows = [row(number, wanted="ask the baker", unwanted="it is blue") for number in range(100)]
    with pytest.raises(DataError, match=r"target reads 100 of 100 `wanted` replies \(100%\) as no hit"):
        prepare(storage, written(tmp_path, rows))


def test_the_layout_is_told_where_it_is_read_and_what_was_set_aside_always(
    tmp_path: Path, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    config = written(tmp_path, [*(row(number) for number in range(100)), "{oops"])
    set_aside = "prepare: 1 of 101 conversations set aside: 1 x not JSON"
    for expected in (["prepare: read ", set_aside], [set_aside]):
        caplog.clear()
        with caplog.at_level("INFO", logger="mascing.progress"):
            prepare(storage, config)
        told = [message for message in caplog.messages if "layout" in message or "set aside" in message]
        assert len(told) == len(expected)
        assert all(message.startswith(start) for message, start in zip(told, expected, strict=True))


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written(tmp_path, [row(number) for number in range(200)])

    def changing(*args: Any) -> Any:
        with (tmp_path / "rows.jsonl").open("a") as file:
            file.write("\n" + row(900))
        return given_replies(*args)

    monkeypatch.setattr(preparing, "given_replies", changing)
    with pytest.raises(DataError, match="has changed while it was read: run again"):
        prepare(storage, config)
    monkeypatch.undo()
    assert sum(prepare(storage, config).manifest.facts.splits.model_dump().values()) >= 201
