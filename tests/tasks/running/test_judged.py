"""Judged replies: what is stored is found by content, and looked for once."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mascing.conversations.reply import Reply
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.storage.object_storage import Storage
from mascing.tasks.running import replies
from mascing.tasks.running.judged import Judging, Steered
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool
from tests.tasks.test_labelling import chats, config_for

SPEC = RouterSpec("olmoe", (0,), n_experts=4, top_k=2, scoring="softmax")
MASKS: list[Steered] = [
    (name, Mask.from_bias(torch.full((1, 4), bias), SPEC)) for name, bias in (("a", 1.0), ("b", 2.0))
]


def test_in_a_race_the_replies_of_a_mask_are_listed_once_and_none_is_made_twice(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    listed: list[str] = []
    plain = Storage.list

    def complete(loaded: Any, prompts: Any, mask: Mask | None, generation: Any, told: Any) -> list[Reply]:
        assert mask is not None
        made.extend(f"{mask.digest} {prompt.conversation_id}" for prompt in prompts)
        return [Reply("x") for _ in prompts]

    def noted(self: Storage, prefix: str = "") -> list[str]:
        listed.append(prefix)
        return plain(self, prefix)

    monkeypatch.setattr(replies, "complete", complete)
    monkeypatch.setattr(Storage, "list", noted)
    config, rows = config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, chats()), chats()
    for rounds in (4, 1):  # the second start finds everything
        judging = Judging(HerePool(), storage, config, "c" * 64)
        for number in range(1, rounds + 1):
            judged = judging.judge(rows[: 80 * number // rounds], MASKS, lambda done, total: None)
        assert [len(of_mask.rows) for of_mask in judged] == [80, 80]
        assert len(made) == len(set(made)) == 160
        assert len(listed) == len(MASKS)
        assert Counter(prefix.count("/") for prefix in listed) == {2: len(MASKS)}
        listed.clear()
