"""The recipe of a judge: a factory in the user's own package, named in a configuration."""

import pickle
from pathlib import Path

import pytest
import yaml

from mascing.config import load_config
from mascing.conversations.reply import Reply
from mascing.errors import ConfigError
from mascing.judges.judging import judge_all
from mascing.judges.table import judge_identity
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import PluggedJudge

KIND = "tests.recipes.my_package.judging:courtesy"


def behaviour(folder: Path, **options: object) -> BehaviourConfig:
    """The behaviour of a configuration file whose target set uses the recipe's judge."""
    file = folder / "run.yaml"
    judges = {"target": {"kind": KIND, **options}, "utility": {"kind": "exact"}, "protected": {"kind": "exact"}}
    file.write_text(
        yaml.safe_dump({"model": {"path": "m"}, "behaviour": {"name": "b", "conversations": "c.jsonl", **judges}})
    )
    return load_config(str(file)).behaviour


def outcomes(behaviour: BehaviourConfig, *replies: str) -> list[str]:
    conversations = [
        Conversation(id=f"c{number}", group_id="g", messages=(Message(role="user", content="Where is it?"),))
        for number in range(len(replies))
    ]
    return [verdict.outcome for verdict in judge_all(behaviour, conversations, [Reply(reply) for reply in replies])]


def test_it_judges_replies(tmp_path: Path) -> None:
    replies = ("Please take the red box.", "Take it.", " ", "Please, and thank you.")
    # A worker in another process receives it pickled.
    carried = pickle.loads(pickle.dumps(behaviour(tmp_path)))  # noqa: S301
    assert outcomes(carried, *replies) == ["hit", "miss", "unscored", "hit"]
    assert outcomes(behaviour(tmp_path, at_least=2), *replies) == ["miss", "miss", "unscored", "hit"]


def test_its_options_are_checked_when_the_configuration_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^behaviour\.target\.at_least: must be a whole number, got \"two\" \(in "):
        behaviour(tmp_path, at_least="two")
    with pytest.raises(ConfigError, match=r"^behaviour\.target\.word: unknown key; did you mean 'words'\? \(in "):
        behaviour(tmp_path, word=["please"])


def test_the_configuration_holds_the_options_that_it_leaves_out(tmp_path: Path) -> None:
    expected = {"kind": KIND, "words": ["please", "thank you"], "at_least": 1}
    assert behaviour(tmp_path).target.model_dump() == expected
    assert judge_identity(PluggedJudge(kind=KIND)) == {"judge": expected, "version": 1, "factory": KIND}
