from pathlib import Path

import pytest

from mascing.errors import DataError
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.settings.judge_settings import RefusalJudge
from mascing.schemas.settings.method_settings import MascingConfig, MethodsConfig, SteerMoEConfig
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.prepare import prepare
from mascing.tasks.running.actors import Pool
from tests.mascing import olmoe_folder


def config_for(folder: Path, methods: MethodsConfig) -> RunConfig:
    """A run on a tiny model and labelled conversations without replies."""
    chats = [
        olmoe_folder.conversation(f"c{number}", "a question", label="negative" if number % 2 else "positive")
        for number in range(24)
    ]
    (folder / "c.jsonl").write_text("".join(chat.model_dump_json() + "\n" for chat in chats))
    judge = RefusalJudge(phrases=("no",))
    return RunConfig(
        model=ModelConfig(path=str(olmoe_folder.save(folder / "model"))),
        behaviour=BehaviourConfig(
            name="b", conversations=str(folder / "c.jsonl"), target=judge, utility=judge, protected=judge
        ),
        methods=methods,
    )


@pytest.mark.parametrize(
    "methods",
    [
        MethodsConfig(mascing=MascingConfig(spans=("question", "reply")), steermoe=None),
        MethodsConfig(mascing=None, steermoe=SteerMoEConfig(spans=("reply",))),
    ],
)
def test_the_span_of_replies_is_refused_before_the_model_runs_where_replies_are_unknown(
    tmp_path: Path, methods: MethodsConfig
) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path, methods)
    prepared = prepare(storage, config).manifest
    with Pool(config.compute) as pool, pytest.raises(DataError, match="the span `reply` needs `wanted` of every pos"):
        harvest(storage, config, prepared, pool=pool)
