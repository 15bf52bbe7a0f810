"""Rows that fail are set aside; nothing else is lost with them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import quarantine_table
from mascing.errors import DataError, LogitsError, ModelError
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import PublishFacts
from mascing.schemas.finished import Published
from mascing.storage import parquet
from mascing.storage.manifests import QUARANTINE, StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.isolation import Failed, quarantined, refusal, refuse_many, surviving, tell_set_aside


def doubled(rows: Sequence[int]) -> list[int]:
    if 3 in rows or 7 in rows:
        raise IndexError(f"no place for {next(row for row in rows if row in (3, 7))}")
    return [2 * row for row in rows]


def test_a_row_that_raises_is_set_aside_with_its_reason() -> None:
    values = surviving(doubled, range(10))
    assert [value for value in values if not isinstance(value, Failed)] == [0, 2, 4, 8, 10, 12, 16, 18]
    assert isinstance(values[3], Failed)
    assert values[3].reason == "IndexError: no place for 3"
    assert "in doubled" in values[3].traceback
    assert isinstance(values[7], Failed)


def test_no_rows_have_no_values_whatever_the_function_makes_of_none() -> None:
    assert surviving(lambda rows: [rows[0]], []) == []


def test_what_no_row_can_cause_is_raised() -> None:
    def broken(rows: Sequence[int]) -> list[int]:
        raise ModelError("no routers")

    with pytest.raises(ModelError):
        surviving(broken, range(4))


def test_few_failures_are_borne_and_told_and_many_stop_the_stage_with_their_share(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage.open(str(tmp_path))
    output = StageOutput(storage, Published, "b", "0" * 16)
    reasons = ("too long", "no template", "too long")
    rows = [Quarantined(number, None, reason, "") for number, reason in enumerate(reasons, start=1)]
    shards = [output.put("rows", b"", 57), output.put(QUARANTINE, parquet.to_bytes(quarantine_table(rows)), 3)]
    manifest = output.commit(shards, PublishFacts(winner=None, masks=None), rows_in=60, rows_quarantined=3)
    refuse_many(storage, manifest, 0.05)
    with caplog.at_level("INFO", logger="mascing.progress"):
        tell_set_aside(storage, manifest)
    [told] = caplog.messages
    assert told.startswith(
        "publish: 3 of 60 conversations set aside: 2 x too long (rows 1, 3); 1 x no template (row 2)"
    )
    assert storage.locate(f"{manifest.prefix}/{QUARANTINE}") in told
    with pytest.raises(DataError, match=r"publish: 3 of 60 conversations .*\(4%\).*2 x too long \(rows 1, 3\)"):
        refuse_many(storage, manifest, 0.04)


@pytest.mark.parametrize(("others", "total", "fault"), [([], 2, ModelError), ([], 3, DataError), ([3], 3, DataError)])
def test_a_model_that_gives_no_logits_on_any_row_is_to_blame(
    others: list[int], total: int, fault: type[Exception]
) -> None:
    def read(rows: Sequence[int]) -> list[int]:
        raise IndexError("no place") if 3 in rows else LogitsError("NaN")

    chat = Conversation.model_validate({"id": "c", "group_id": "g", "messages": [{"role": "user", "content": "?"}]})
    values = [surviving(read, [row])[0] for row in (1, 2, *others)]
    failed = [quarantined(row, chat, value) for row, value in enumerate(values, 1) if isinstance(value, Failed)]
    assert type(refusal("label", failed, total, 0.05, "here")) is fault
