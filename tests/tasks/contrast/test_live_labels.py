"""Labels of live conversations, by a real model: those of a straightforward loop over its own replies."""

from pathlib import Path
from typing import Any

from mascing.conversations.splits import SPLITS
from mascing.engines.generation import generate
from mascing.judges.judging import judge_all
from mascing.models.loading import Loaded, load
from mascing.runs.readers import conversations_of, unsteered_of
from mascing.schemas.config import GenerationConfig, LabelConfig, RunConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.generation_settings import StopConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from tests.mascing import olmoe_folder
from tests.tasks.contrast.test_labelling import config_for
from tests.tasks.here_pool import HerePool

COIN: Any = {"kind": "tests.tasks.coin_judge:coin"}
GROUPS = 24


def played(loaded: Loaded, config: RunConfig, row: Conversation) -> tuple[str, str, int]:
    """Outcome, reply and turn of the first miss, else of the last turn."""
    users = [message for message in row.messages if message.role == "user"]
    history: list[Message] = []
    for turn, user in enumerate(users, start=1):
        history.append(user)
        asked = row.model_copy(update={"messages": tuple(history)})
        [reply] = generate(loaded, [asked], None, config.generation)
        [verdict] = judge_all(config.behaviour, [asked], [reply])
        if verdict.outcome == "miss" or turn == len(users):
            return verdict.outcome, reply.text, turn
        if not reply.text.strip():
            return "unscored", reply.text, turn
        history.append(Message(role="assistant", content=reply.text))
    raise AssertionError("a conversation has a user turn")


def test_labels_are_those_of_the_models_own_conversations(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "storage"))
    rows = [
        olmoe_folder.conversation(f"c{number:02d}", f"bench {number:02d}?", "FILE", "and why?", label=None)
        for number in range(GROUPS)
    ]
    config = config_for(olmoe_folder.save(tmp_path / "model"), tmp_path, rows).model_copy(
        update={
            "generation": GenerationConfig(
                max_new_tokens=3, turns="live", stop_at=StopConfig(target="miss", utility="end", protected="end")
            ),
            "label": LabelConfig(samples=0),
        }
    )
    prepared = prepare(storage, config).manifest
    labelled = label(storage, config, prepared, pool=HerePool()).manifest
    loaded, early = load(config.model), 0
    for split in SPLITS:
        verdicts = unsteered_of(storage, labelled, split)
        for row in conversations_of(storage, labelled, split):
            outcome, reply, turn = played(loaded, config, rows[int(row.id[1:])])
            found = verdicts.pop(row.id)
            assert (found["outcome"], found["reply"]) == (outcome, reply)
            assert found["reason"].startswith(f"turn {turn} of 2: ")
            assert row.label == {"hit": "positive", "miss": "negative", "unscored": None}[outcome]
            early += turn == 1
        assert verdicts == {}
    assert 0 < early < GROUPS
