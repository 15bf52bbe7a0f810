"""The recipe of a method: it runs like a built-in one, under its name in the configuration."""

from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from mascing.circuits.methods import completed_method, method_identity, searches_of
from mascing.plugins import OptionsError
from mascing.routers.spec import inspect_routers
from mascing.runs.readers import candidates_of
from mascing.schemas.config import BehaviourConfig, ComputeConfig, ModelConfig, RunConfig
from mascing.schemas.settings.method_settings import MethodsConfig, PluggedMethod
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.train import train
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

KIND = "tests.recipes.my_package.searching:MEAN_SHIFT"
ALONE = {"mascing": None, "consensus": None, "steermoe": None, "gradient": None, "refined": None, "active": None}


def methods(**options: object) -> MethodsConfig:
    return MethodsConfig.model_validate({**ALONE, "shift": {"kind": KIND, **options}})


def config_for(folder: Path) -> RunConfig:
    chats = [
        olmoe_folder.conversation(
            f"c{number}", f"an {kind} question {number}", label="negative" if kind == "odd" else "positive"
        )
        for number, kind in enumerate(("even", "odd") * 24)
    ]
    (folder / "c.jsonl").write_text("".join(chat.model_dump_json() + "\n" for chat in chats))
    coin: Any = {"kind": "tests.tasks.coin_judge:coin"}
    return RunConfig(
        model=ModelConfig(path=str(olmoe_folder.save(folder / "model"))),
        behaviour=BehaviourConfig(
            name="b",
            conversations=str(folder / "c.jsonl"),
            target=coin,
            utility=coin,
            protected=coin,
            matching=None,  # the questions are worded alike, so that they have no topics to match by
        ),
        methods=methods(alphas=[0.5, 2.0]),
        compute=ComputeConfig(workers=1),
    )


def test_it_runs_in_the_optimise_stage(tmp_path: Path) -> None:
    storage, config = Storage.open(str(tmp_path / "data")), config_for(tmp_path)
    pool = HerePool()
    prepared = prepare(storage, config).manifest
    labelled = label(storage, config, prepared, pool=pool).manifest
    harvested = harvest(storage, config, labelled, pool=pool).manifest
    trained = train(storage, config, labelled, harvested, pool=pool).manifest
    optimised = optimise(storage, config, labelled, harvested, trained, pool=pool).manifest
    assert optimised.facts.candidates == {"shift": 2}
    candidates = candidates_of(storage, optimised)
    assert [(candidate.method, candidate.cell["alpha"]) for candidate in candidates] == [("shift", 0.5), ("shift", 2.0)]
    assert all(candidate.mask.spec == inspect_routers(olmoe_folder.model()) for candidate in candidates)
    assert candidates[0].mask.entries > 0


def test_its_settings_travel_to_workers(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    arrived: RunConfig = cloudpickle.loads(cloudpickle.dumps(config))
    assert arrived == config
    assert searches_of(arrived.methods) == searches_of(config.methods)


def test_its_settings_and_its_version_are_its_identity() -> None:
    where = "tests.recipes.my_package.searching:search"
    expected = {"kind": KIND, "search": where, "spans": ["question"], "alphas": [0.5, 1.0]}
    assert method_identity(methods()) == {"methods": {"shift": expected}, "versions": {"shift": 1}}
    assert method_identity(methods(alphas=[2.0])) != method_identity(methods())


def test_its_options_are_checked() -> None:
    with pytest.raises(OptionsError, match="alpha: unknown key; did you mean 'alphas'"):
        searches_of(methods(alpha=[1.0]))


def test_what_it_looks_at_is_recorded() -> None:
    settings = completed_method(PluggedMethod.model_validate({"kind": KIND, "spans": ["reply"]}))
    assert MethodsConfig.model_validate({**ALONE, "shift": settings}).spans == {"reply"}
