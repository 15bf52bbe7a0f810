"""Judged replies: what is stored is found by content, and looked for once."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from mascing.conversations.reply import Reply
from mascing.engines.engine import Answer, Turn
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import ComputeConfig
from mascing.schemas.settings.engine_settings import VllmEngine
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage
from mascing.tasks.replying import verdict_pieces
from mascing.tasks.replying.judged import Judging, Steered
from mascing.tasks.replying.replies import RepliesFolder
from mascing.tasks.replying.verdict_pieces import verdicts_on
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.workers.worker import Worker
from tests.mascing import olmoe_folder
from tests.tasks.contrast.test_labelling import chats, config_for
from tests.tasks.here_pool import EndsItsProcess, HerePool, MortalPool
from tests.tasks.replying.completing import replies_by

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

    replies_by(monkeypatch, complete)
    monkeypatch.setattr(Storage, "list", noted)
    config, rows = config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, chats()), chats()
    for rounds in (4, 1):  # the second start finds everything
        judging = Judging(HerePool(), storage, config, "c" * 64)
        for number in range(1, rounds + 1):
            judged = judging.judge(Asked.given(rows[: 80 * number // rounds]), MASKS, lambda done, total: None)
        assert [len(of_mask.outcomes) for of_mask in judged] == [80, 80]
        assert len(made) == len(set(made)) == 160
        assert len(listed) == len(MASKS)
        assert Counter(prefix.count("/") for prefix in listed) == {2: len(MASKS)}
        listed.clear()


def test_a_conversation_whose_judge_ends_the_worker_is_unscored_and_the_others_are_judged(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, rows = config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, chats()), chats()
    fatal, plain = {rows[3].id}, judge_all

    def judge(behaviour: Any, conversations: Any, said: Any, storage: Any) -> list[Verdict]:
        if not fatal.isdisjoint(row.id for row in conversations):
            raise EndsItsProcess
        return plain(behaviour, conversations, said)

    monkeypatch.setattr("mascing.tasks.replying.verdict_pieces.judge_all", judge)
    replies_by(monkeypatch, lambda loaded, prompts, *_: [Reply("x") for _ in prompts])

    def outcomes() -> dict[str, tuple[str, str]]:
        judging = Judging(MortalPool(), storage, config, "c" * 64)
        [judged] = judging.judge(Asked.given(rows), [("a", None)], lambda *_: None)
        assert not judged.failed, "it has a reply"
        return {
            row["conversation_id"]: (row["outcome"], row["reason"])
            for table in judged.tables()
            for row in table.to_pylist()
        }

    hurt = outcomes()
    assert hurt[rows[3].id] == ("unscored", "the judge ended its worker: connection error code 2")
    assert outcomes() == hurt
    fatal.clear()  # the judge was mended
    sound = outcomes()
    assert {name for name in sound if sound[name] != hurt[name]} == {rows[3].id}
    assert "unscored" not in {outcome for outcome, _ in sound.values()}


def test_what_a_judge_said_and_took_is_stored_with_its_verdict(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, rows = config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, chats()), chats()[:3]
    said = Verdict(outcome="hit", reason="r", raw="VERDICT: YES", cost=0.25, seconds=1.5)
    monkeypatch.setattr(verdict_pieces, "judge_all", lambda behaviour, asked, *_: [said] * len(asked))
    replied = [Reply("x")] * len(rows)
    made = verdicts_on(storage, config, "replies/a.parquet", rows, replied, {})
    monkeypatch.undo()  # the second time they are read
    assert verdicts_on(storage, config, "replies/a.parquet", rows, replied, {}) == made == [said] * len(rows)


def test_the_table_says_what_a_judge_said_and_took_and_each_piece_is_paid_once(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, rows = config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, chats()), chats()[:3]
    said = Verdict(outcome="hit", reason="r", raw="VERDICT: YES", cost=0.1, seconds=1.5)
    monkeypatch.setattr(verdict_pieces, "judge_all", lambda behaviour, asked, *_: [said] * len(asked))
    replies_by(monkeypatch, lambda loaded, prompts, *_: [Reply("x") for _ in prompts])
    judging = Judging(HerePool(), storage, config, "c" * 64)
    assert judging.cost is None
    for masks in ([MASKS[0], ("equal to a", MASKS[0][1])], MASKS):
        judged = judging.judge(Asked.given(rows), masks, lambda *_: None)
    assert judging.cost == pytest.approx(0.1 * len(rows) * 2)  # two masks, whatever their names
    [table] = judged[0].tables()
    assert table.select(["raw", "cost"]).to_pylist() == [{"raw": said.raw, "cost": said.cost}] * len(rows)
    assert judged[0].outcomes[0].keys().isdisjoint({"raw", "cost", "reply"})


def test_vllm_is_asked_once_for_all_masks_of_a_round_and_its_replies_are_stored_by_mask(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Vllm:
        def replies(self, asked: Sequence[Turn], *_: Any) -> Iterator[tuple[int, Answer]]:
            calls.append(len(asked))
            for number, (row, mask) in reversed(list(enumerate(asked))):  # as they are done
                yield number, Answer(Reply(f"{mask.digest if mask else ''} {row.id}"))

    monkeypatch.setattr(Worker, "engine", lambda *_: Vllm())
    rows, plain = chats(), config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, chats())
    config = plain.model_copy(update={"engine": VllmEngine(), "compute": ComputeConfig(workers=1)})
    judged = Judging(HerePool(), storage, config, "c" * 64).judge(Asked.given(rows[:40]), MASKS, lambda *_: None)
    assert calls == [2 * 40]
    for (_, mask), of_mask in zip(MASKS, judged, strict=True):
        assert mask is not None
        table = pa.concat_tables(of_mask.tables())
        assert table["reply"].to_pylist() == [f"{mask.digest} {row.id}" for row in rows[:40]]
        assert storage.list(RepliesFolder.of(config, "c" * 64).under(mask))
    Judging(HerePool(), storage, config, "c" * 64).judge(Asked.given(rows), MASKS, lambda *_: None)
    assert calls == [2 * 40, 2 * 40], "the second round finds the replies of the first"
    two = config.model_copy(update={"compute": ComputeConfig(workers=2)})
    Judging(HerePool(), storage, two, "d" * 64).judge(Asked.given(rows), MASKS, lambda *_: None)
    assert len(calls) == 2 + 2, "each worker has a call"
