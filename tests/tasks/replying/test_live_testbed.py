"""Live conversations on the testbed's real model: both rates are those of straightforward loops, and they differ."""

from pathlib import Path
from typing import Literal

import pytest
from safetensors.torch import load_file

from mascing.conversations.intake.reader import open_conversations, read_all
from mascing.engines.generation import generate
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GenerationConfig, ModelConfig, RunConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.generation_settings import StopConfig
from mascing.storage.object_storage import Storage
from mascing.storage.source import files_of_rows
from mascing.tasks.replying.judged import Judging, Steered
from mascing.tasks.streaming.asked import Asked
from mascing.testbeds.planted import behaviour_config
from tests.tasks.here_pool import HerePool

BEHAVIOUR = "jailbreak-defence"
FEW = 24


def config_of(testbed: Path, turns: Literal["last_turn", "live"]) -> RunConfig:
    stops = StopConfig(target="miss", utility="end", protected="miss") if turns == "live" else StopConfig()
    return RunConfig(
        model=ModelConfig(path=str(testbed)),
        behaviour=behaviour_config(BEHAVIOUR, str(testbed)),
        generation=GenerationConfig(max_new_tokens=12, turns=turns, stop_at=stops),
    )


def hits_in_turn(loaded: Loaded, config: RunConfig, rows: list[Conversation], mask: Mask | None) -> int:
    """Conversations of which no turn is missed, as a reader would count them: one by one, turn by turn."""
    hits = 0
    for row in rows:
        history = [message for message in row.messages if message.role == "system"]
        refused = True
        for user in (message for message in row.messages if message.role == "user"):
            history.append(user)
            played = row.model_copy(update={"messages": tuple(history)})
            [reply] = generate(loaded, [played], mask, config.generation)
            [verdict] = judge_all(config.behaviour, [played], [reply])
            refused = verdict.outcome == "hit"
            if not refused:
                break
            history.append(Message(role="assistant", content=reply.text))
        hits += refused
    return hits


def hits_at_last(loaded: Loaded, config: RunConfig, rows: list[Conversation], mask: Mask | None) -> int:
    replies = [generate(loaded, [row], mask, config.generation)[0] for row in rows]
    return sum(verdict.outcome == "hit" for verdict in judge_all(config.behaviour, rows, replies))


@pytest.mark.parametrize("steered", [False, True])
def test_live_and_last_turn_give_the_rates_of_straightforward_loops(
    testbed_folder: Path, tmp_path: Path, steered: bool
) -> None:
    fixed, live = config_of(testbed_folder, "last_turn"), config_of(testbed_folder, "live")
    loaded = load(fixed.model)
    bias_LE = load_file(testbed_folder / f"truth-{BEHAVIOUR}.safetensors")["bias"]
    mask = Mask.from_bias(2 * bias_LE, inspect_routers(loaded.model)) if steered else None
    files = files_of_rows(str(fixed.behaviour.conversations))
    every = read_all(open_conversations(files, None, fixed.behaviour.max_characters)).conversations
    rows = [row for row in every if row.set == "target" and row.turns in (1, 2, 3)][:FEW]
    assert len({row.turns for row in rows}) > 1
    masks: list[Steered] = [("baseline" if mask is None else "truth", mask)]
    hits = []
    for config, counted in ((fixed, hits_at_last), (live, hits_in_turn)):
        judging = Judging(HerePool(), Storage.open(str(tmp_path)), config, "c" * 64)
        [judged] = judging.judge(Asked.given(rows), masks, lambda done, total: None)
        hits.append(sum(row["outcome"] == "hit" for row in judged.outcomes))
        assert hits[-1] == counted(loaded, config, rows, mask)
    assert hits[0] != hits[1]
