"""What a driver holds of its conversations does not grow with their number."""

import json
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mascing.runs import stored_conversations, table_parts
from mascing.runs.readers import contrast_of, conversations_of
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.racing import blocks_of
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.object_storage import Storage
from mascing.storage.source import read_rows
from mascing.tasks import prepare as preparing
from mascing.tasks.contrast import contrasts
from mascing.tasks.labelling import label
from mascing.tasks.picking.jury import Jury
from mascing.tasks.prepare import prepare
from mascing.tasks.replying import judged
from mascing.tasks.replying.judged import BASELINE, Judging
from mascing.tasks.streaming import asked
from tests.bench.scale.streaming import config_of, replies_to
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

AT_ONCE = 16
# A block is at most four times as long as it should be, and each of its rows is read and made into what is asked.
LONGEST = 8 * AT_ONCE
ROWS = 700


class Alive:
    """Counts the conversations that are objects, and the most at once, from when it is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        for name in ("model_validate", "model_copy"):
            monkeypatch.setattr(Conversation, name, self._counted(getattr(Conversation, name)))

    def _counted(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **named: Any) -> Any:
            made = make(*args, **named)
            self.now += 1
            self.most = max(self.most, self.now)
            weakref.finalize(made, self._gone)
            return made

        return counting

    def _gone(self) -> None:
        self.now -= 1


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run of many short conversations, mostly in pairs, which are read and written few at a time."""
    olmoe_folder.save(tmp_path / "model")
    rows = (
        {
            "id": "c" * (1 + number % 2) + str(number),
            "group_id": f"g{number // 2}",
            "messages": [{"role": "user", "content": f"why route {number}"}],
        }
        for number in range(ROWS)
    )
    (tmp_path / "conversations.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    of_asked = [(stored_conversations, "PART_ROWS"), (asked, "_ROWS")]
    for module, name in ((preparing, "_BATCH"), (table_parts, "PART_ROWS"), (contrasts, "_BLOCK"), *of_asked):
        monkeypatch.setattr(module, name, AT_ONCE)
    monkeypatch.setattr(judged, "replies_to", replies_to)
    return config_of(tmp_path)


def test_a_file_is_hashed_without_being_held(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(bytes(2**24))
    tracemalloc.start()
    try:
        read_rows(str(tmp_path / "rows.jsonl"))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_prepare_and_label_hold_few_conversations_at_once(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, alive = Storage.open(str(tmp_path / "storage")), Alive(monkeypatch)
    prepared = prepare(storage, config).manifest
    assert prepared.rows_out == ROWS
    assert AT_ONCE <= alive.most <= 3 * AT_ONCE
    alive.most = 0
    labelled = label(storage, config, prepared, pool=HerePool()).manifest
    assert labelled.facts.matching["train"].pairs > LONGEST
    assert AT_ONCE <= alive.most <= LONGEST


def test_who_learns_and_selects_holds_where_conversations_stand(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, pool = Storage.open(str(tmp_path / "storage")), HerePool()
    labelled = label(storage, config, prepare(storage, config).manifest, pool=pool).manifest
    alive = Alive(monkeypatch)
    rows = conversations_of(storage, labelled, "train")
    jury = Jury(Judging(pool, storage, config, "c" * 64), rows)
    blocks = blocks_of(jury.conversations, (0.5, 1.0), seed=0)
    [outcomes] = jury.judge([(BASELINE, None)], [row for block in blocks for row in block], lambda done, total: None)
    assert [row["conversation_id"] for row in outcomes] == [row.id for block in blocks for row in block]
    assert len(contrast_of(rows)) > LONGEST
    fingerprint(Streamed(rows))
    assert AT_ONCE <= alive.most <= LONGEST
