"""Everything that can be known of a run before it starts: its model, its machine, its rows and its gates."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mascing.engines.installed import refuse_missing
from mascing.engines.unloadable import why_unloadable_by
from mascing.errors import MascingError
from mascing.evidence.foregone import Foregone, foregone
from mascing.evidence.planning import question_of
from mascing.evidence.prospects import Prospects, prospects
from mascing.models.checkpoints import local_folder
from mascing.models.model_folder import (
    context_in,
    refuse_dense,
    refuse_unloadable_fp8,
    refuse_without_weights,
    settings_of,
    weights_bytes,
)
from mascing.models.tokenizer import quick_tokenizer_in
from mascing.preflight.lengths import Lengths
from mascing.preflight.loading_options import refuse_unknown_names
from mascing.preflight.machine import Machine, machine_for, refuse_silent_services
from mascing.preflight.rows import Rows, read_rows
from mascing.preflight.usable import complaints_of
from mascing.schemas.config import RunConfig

Value = TypeVar("Value")


@dataclass(frozen=True)
class Model:
    """What the files of a model say: its type, the bytes of its weights, its context, and its tokenizer.

    ``unloadable`` is why the engine of the run cannot load it, as far as the files say.
    """

    type: str
    weights: int | None
    context: int | None
    tokenizer: Any
    unloadable: str | None


@dataclass(frozen=True)
class Preflight:
    """What is known of a run; a part that cannot be read is None.

    ``problems`` keep a run from working, ``hopeless`` are gates that no mask can pass, ``notes`` are worth knowing.
    ``prospects`` say of each set what `mascing plan` says; None while problems keep them from being foretold.
    """

    model: Model | None
    machine: Machine | None
    rows: Rows | None
    problems: tuple[str, ...]
    hopeless: tuple[Foregone, ...]
    notes: tuple[str, ...]
    prospects: Prospects | None


def preflight(config: RunConfig) -> Preflight:
    """Check a run without loading weights and without Ray, Prefect or torch; finds all problems, not only the first."""
    problems: list[str] = []
    _found(refuse_silent_services, problems)
    _found(lambda: refuse_unknown_names(config.model), problems)
    if not os.environ.get("RAY_ADDRESS"):  # else the workers are elsewhere
        _found(lambda: refuse_missing(config.engine), problems)
    model = _found(lambda: _model(config), problems)
    machine = _found(lambda: machine_for(config, model.weights if model else None), problems)
    if model and model.unloadable:
        problems.append(
            f"the engine `vllm` cannot load the model: {model.unloadable}: take `engine: {{kind: transformers}}`"
        )
    tokenizer, context = (model.tokenizer, config.engine.context(model.context)) if model else (None, None)
    limited = " by engine.max_model_len" if model and context != model.context else ""
    if context is not None and config.generation.max_new_tokens >= context:
        problems.append(
            f"generation.max_new_tokens {config.generation.max_new_tokens} leaves no room in the model's context of "
            f"{context} tokens{limited}: lower it"
        )
        context = None  # else each row would say so again
    lengths = Lengths(config, tokenizer, context) if model else None
    rows = _found(lambda: read_rows(config, complaints_of(config, tokenizer, context), lengths), problems)
    of_rows = list(rows.problems(config)) if rows is not None else []
    problems += of_rows
    problems += machine.problems if machine else ()
    notes = (*(machine.notes if machine else ()), *(lengths.notes() if lengths else ()))
    # Of rows that have to be mended first, nothing is foretold.
    test = rows.test if rows is not None and not of_rows and rows.sets["test"]["target"] else []
    hopeless = foregone(config, test) if test else []
    blocked = {gate.gate for gate in hopeless}
    expected = prospects(question_of(config.gates), test, config.gates.protected_tolerance, blocked) if test else None
    return Preflight(model, machine, rows, tuple(problems), tuple(hopeless), notes, expected)


def _model(config: RunConfig) -> Model:
    with local_folder(config.model, weights=False) as folder:
        settings = settings_of(folder)
        refuse_unloadable_fp8(folder, settings)
        if not config.model.trust_remote_code:
            refuse_dense(folder, settings)
        if Path(config.model.path).expanduser().is_dir():  # else they are fetched when the model is loaded
            refuse_without_weights(folder)
        return Model(
            settings["model_type"],
            weights_bytes(folder, config.model.dtype),
            context_in(settings),
            quick_tokenizer_in(folder, config.model),
            why_unloadable_by(config.engine, config.compute.num_gpus, folder, settings),
        )


def _found(check: Callable[[], Value], problems: list[str]) -> Value | None:
    """The result of a check; None if it finds a mistake, which is added to the problems."""
    try:
        return check()
    except MascingError as error:
        problems.append(str(error))
        return None
