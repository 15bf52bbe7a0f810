"""Every field of the configuration changes the prefix of exactly those stages whose content it can change.

A field changes the stages that read it and, through their prefixes, all stages downstream.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import BaseModel

from mascing.circuits.method import Method
from mascing.circuits.methods import METHODS
from mascing.judges.table import JUDGES, JudgeKind
from mascing.schemas.config import BehaviourConfig, GenerationConfig, ModelConfig, RunConfig
from mascing.schemas.settings.engine_settings import VllmEngine
from mascing.schemas.settings.generation_settings import StopConfig
from mascing.schemas.settings.judge_settings import ExactJudge, PluggedJudge, RefusalJudge
from mascing.schemas.settings.method_settings import ConsensusConfig, MethodsConfig, SteerMoEConfig
from mascing.storage.source import Source
from mascing.tasks import (
    evaluate,
    gate,
    harvest,
    labelling,
    optimise,
    prepare,
    publish,
    robustness,
    selecting,
    suppress,
    train,
)
from mascing.tasks.replying.replies import RepliesFolder
from mascing.tasks.running.stage import Recipe

ALL = "prepare label harvest train optimise select evaluate robustness gate publish audit"
JUDGED = "prepare label optimise select evaluate robustness audit"
PLACEMENT = ""

# The stages that read a field, or all fields below it. No stage's identity contains placement.
READ_BY = {
    "model.path": "prepare label harvest publish audit",
    "model.revision": "prepare label harvest",
    "model.dtype": "label harvest",
    "model.attn_implementation": "label harvest",
    "model.chat_template": "prepare label harvest publish",
    "model.device": PLACEMENT,
    "model.trust_remote_code": "prepare label harvest",
    "behaviour.name": ALL,
    "behaviour.conversations": "prepare",
    "behaviour.columns": "prepare",
    "behaviour.max_characters": "prepare",
    "behaviour.matching": "label",
    "behaviour.wanted_reply": "label",
    "behaviour.target": JUDGED,
    "behaviour.utility": JUDGED,
    "behaviour.protected": JUDGED,
    "behaviour.target.calibration": PLACEMENT,  # it changes no verdict; what is corrected is made when a run ends
    "behaviour.utility.calibration": PLACEMENT,
    "behaviour.protected.calibration": PLACEMENT,
    "behaviour.judges": JUDGED,
    "behaviour.truth": "gate",
    "max_quarantined": PLACEMENT,  # it may stop a run, but changes no content
    "allow_unpublishable": PLACEMENT,  # it may stop a run, but changes no content
    "seed": "train optimise select audit",
    "splits": "prepare",
    "label": "label",
    "harvest.rows_per_shard": "harvest",
    "harvest.batch_tokens": PLACEMENT,
    "surrogate.members": "train",
    "surrogate.epochs": "train",
    "surrogate.traces": "train",
    "surrogate.allow_confounded": PLACEMENT,  # it may stop a run, but changes no content
    "methods": "optimise",
    "methods.mascing.spans": "train optimise",
    "generation.max_new_tokens": JUDGED,
    "generation.temperature": JUDGED,
    "generation.batch_size": PLACEMENT,
    "generation.turns": JUDGED,
    "generation.stop_at": JUDGED,
    "selection": "select",
    "gates": "robustness gate",
    "gates.max_utility_loss": "select robustness gate",
    "gates.protected_tolerance": "select robustness gate",
    "robustness": "robustness",
    "robustness.uplift_share": "gate",
    "robustness.loss_factor": "gate",
    "audit": "audit",
    "compute": PLACEMENT,
}

JUDGE = RefusalJudge(phrases=("sorry", "no"))
OWN_JUDGE = PluggedJudge.model_validate(
    {"kind": "tests.recipes.my_package.judging:courtesy", "words": ["please", "thanks"], "at_least": 1}
)
OWN_METHOD = "tests.recipes.my_package.searching:MEAN_SHIFT"
CONFIG = RunConfig(
    model=ModelConfig(
        path="org/model", revision="main", attn_implementation="eager", chat_template={"enable_thinking": False}
    ),
    behaviour=BehaviourConfig(
        name="policy",
        conversations="rows.jsonl",
        target=JUDGE,
        utility=JUDGE,
        protected=OWN_JUDGE,
        judges={"utility/facts": JUDGE},
        truth="truth",
    ),
    generation=GenerationConfig(turns="live", stop_at=StopConfig(target="miss", utility="end", protected="miss")),
    methods=MethodsConfig.model_validate(
        {
            "consensus": {"spans": ["question"]},  # one of mascing's, so that changing either's spans shows
            "shift": {"kind": OWN_METHOD, "spans": ["question"], "alphas": [1.0, 2.0]},
        }
    ),
)


def recipes(config: RunConfig) -> dict[str, Recipe[Any]]:
    """The recipe of each stage; a path stands for its content, so other paths mean other content."""
    model, behaviour = config.model, config.behaviour
    checkpoint = f"{model.path}@{model.revision}"
    prepared = prepare.recipe(config, checkpoint, str(behaviour.conversations))
    labelled = labelling.recipe(config, checkpoint, prepared)
    harvested = harvest.recipe(config, checkpoint, labelled)
    trained = train.recipe(config, labelled, harvested)
    optimised = optimise.recipe(config, labelled, harvested, trained)
    selected = selecting.recipe(config, labelled, harvested, optimised)
    evaluated = evaluate.recipe(config, labelled, selected)
    tested = robustness.recipe(config, prepared, labelled, selected, evaluated)
    truth = Source(behaviour.truth.encode()) if behaviour.truth is not None else None
    gated = gate.recipe(config, truth, prepared, trained, selected, evaluated, tested)
    published = publish.recipe(config, prepared, harvested, selected, gated)
    audited = suppress.recipe(config, labelled, harvested)
    stages: tuple[Recipe[Any], ...] = (
        prepared, labelled, harvested, trained, optimised, selected, evaluated, tested, gated, published, audited,
    )  # fmt: skip
    return {recipe.leaves.stage_name(): recipe for recipe in stages}


def leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field that is not a model itself, except `kind`, which selects a model."""
    for name in (*type(model).model_fields, *(model.model_extra or {})):
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        elif name != "kind":
            yield (*path, name)


def changed(model: Any, path: tuple[str, ...]) -> Any:
    """The model with another value at ``path``, without validation."""
    name, *rest = path
    value = getattr(model, name)
    return model.model_copy(update={name: changed(value, tuple(rest)) if rest else another(value)})


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple | list):
        return value[:-1] if len(value) > 1 else value * 2
    if isinstance(value, dict):
        name, first = next(iter(value.items()), ("", True))
        return {**value, f"{name}changed": first}  # of a set, another set of its kind
    return f"{value}-changed" if isinstance(value, str) else 3


def read_by(path: tuple[str, ...]) -> set[str]:
    """The stages in the most specific entry of the table."""
    for length in range(len(path), 0, -1):
        if ".".join(path[:length]) in READ_BY:
            return set(READ_BY[".".join(path[:length])].split())
    pytest.fail(f"{'.'.join(path)} is a new field: say in READ_BY which stages read it")


def downstream(stages: set[str], recipes: dict[str, Recipe[Any]]) -> set[str]:
    """These stages and all that depend on their outputs; ``recipes`` are in the order of the line."""
    reached = set(stages)
    for stage, recipe in recipes.items():
        if reached & recipe.inputs.keys():
            reached.add(stage)
    return reached


@pytest.mark.parametrize("path", list(leaves(CONFIG)), ids=".".join)
def test_a_field_changes_the_stages_whose_content_it_can_change_and_no_other(path: tuple[str, ...]) -> None:
    before, after = recipes(CONFIG), recipes(changed(CONFIG, path))
    moved = {stage for stage in before if before[stage].prefix != after[stage].prefix}
    assert moved == downstream(read_by(path), before)


@pytest.mark.parametrize("judged_set", ["target", "utility", "protected"])
def test_another_kind_of_judge_or_another_version_of_it_changes_what_is_judged(
    judged_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour = CONFIG.behaviour.model_copy(update={judged_set: ExactJudge()})
    exact = CONFIG.model_copy(update={"behaviour": behaviour})
    before, after = recipes(CONFIG), recipes(exact)
    monkeypatch.setitem(cast(dict[str, JudgeKind], JUDGES), "exact", replace(JUDGES["exact"], version=99))
    later = recipes(exact)
    for first, second in ((before, after), (after, later)):
        moved = {stage for stage in first if first[stage].prefix != second[stage].prefix}
        assert moved == downstream(set(JUDGED.split()), first)


def test_another_version_of_a_method_changes_its_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes(CONFIG)
    monkeypatch.setitem(cast(dict[str, Method], METHODS), "gradient", replace(METHODS["gradient"], version=99))
    after = recipes(CONFIG)
    moved = {stage for stage in before if before[stage].prefix != after[stage].prefix}
    assert moved == downstream({"optimise"}, before)


def test_an_engine_changes_what_it_makes_and_its_placement_nothing() -> None:
    plain, vllm = recipes(CONFIG), CONFIG.model_copy(update={"engine": VllmEngine()})
    made = {"label", "harvest", "select", "evaluate", "robustness", "audit"}
    assert moved(plain, recipes(vllm)) == downstream(made, plain)
    for name, value in {"max_num_seqs": 3, "gpu_memory_utilization": 0.1, "kv_cache_memory_bytes": 1}.items():
        other = VllmEngine.model_validate({name: value})
        assert moved(recipes(vllm), recipes(vllm.model_copy(update={"engine": other}))) == set()
    shorter = vllm.model_copy(update={"engine": VllmEngine(max_model_len=64)})
    assert moved(recipes(vllm), recipes(shorter)) == downstream(made, plain)
    folders = {RepliesFolder.of(config, "c").path for config in (CONFIG, vllm, shorter)}
    assert len(folders) == 3


def moved(before: dict[str, Recipe[Any]], after: dict[str, Recipe[Any]]) -> set[str]:
    return {stage for stage in before if before[stage].prefix != after[stage].prefix}


def test_every_entry_of_the_table_is_a_field() -> None:
    paths = {".".join(path[:length]) for path in leaves(CONFIG) for length in range(1, len(path) + 1)}
    assert READ_BY.keys() <= paths


def test_replies_are_harvested_where_a_span_needs_them() -> None:
    methods = CONFIG.methods.model_copy(update={"steermoe": SteerMoEConfig(spans=("reply",))})
    before, after = recipes(CONFIG), recipes(CONFIG.model_copy(update={"methods": methods}))
    assert before["prepare"].prefix == after["prepare"].prefix
    assert before["harvest"].prefix != after["harvest"].prefix


def test_surrogates_are_trained_for_the_spans_of_consensus_too() -> None:
    methods = CONFIG.methods.model_copy(update={"consensus": ConsensusConfig(spans=("reply",))})
    before, after = recipes(CONFIG), recipes(CONFIG.model_copy(update={"methods": methods}))
    assert after["train"].identity["spans"] == (*before["train"].identity["spans"], "reply")


def test_without_trials_judges_and_generation_change_no_candidates() -> None:
    untried = CONFIG.model_copy(update={"methods": CONFIG.methods.model_copy(update={"active": None})})
    before, after = recipes(untried), recipes(changed(untried, ("generation", "temperature")))
    assert before["optimise"].identity == after["optimise"].identity
    assert before["select"].identity != after["select"].identity
