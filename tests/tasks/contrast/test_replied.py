"""What the unsteered model replied to a split, row by row and by position."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from mascing.conversations.reply import Reply
from mascing.runs.readers import conversations_table, in_contrast
from mascing.schemas.config import LabelConfig
from mascing.schemas.conversation import Conversation
from mascing.storage.object_storage import Storage
from mascing.tasks.contrast.replied import Replied
from mascing.tasks.contrast.unsteered import Unsteered
from mascing.tasks.prepare import prepare
from mascing.tasks.replying import judged
from mascing.tasks.running.isolation import Failed
from tests.bench.scale.streaming import config_of, write_conversations
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool


def replies_to(worker: Any, storage: Any, config: Any, rows: Sequence[Conversation], *_: Any) -> list[Reply | Failed]:
    """Refusals, answers, blanks and failures; those of a sample differ from those that label."""
    return [_reply(row.id, crc32(row.id.encode()) % 10) for row in rows]


def _reply(name: str, drawn: int) -> Reply | Failed:
    if drawn == 0:
        return Failed("boom")
    return Reply(" " if drawn == 1 else f"{'Sorry' if drawn % 2 else 'Sure'} {name}")


def test_by_position_the_contrast_has_the_replies_that_label_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "replies_to", replies_to)
    olmoe_folder.save(tmp_path / "model", max_position_embeddings=2048)
    write_conversations(tmp_path / "conversations.jsonl", 300)
    storage = Storage.open(str(tmp_path / "storage"))
    config = config_of(tmp_path).model_copy(update={"label": LabelConfig(samples=2)})
    table = conversations_table(storage, prepare(storage, config).manifest, "train")
    model = Unsteered(HerePool(), storage, config, "c" * 64)
    replied = Replied(table, model.replies("train", table))
    replied = Replied(table, replied.judged, model.sampled("train", table, replied.targets()))
    contrast = [row for row in replied.each() if in_contrast(row.own)]
    assert 128 < len(contrast) < len(table)
    mixed = [contrast[number] for number in np.random.default_rng(0).permutation(len(contrast))]
    assert replied.labelling([row.position for row in mixed]) == [row.own.own_reply for row in mixed]
    assert replied.labelling([]) == []
