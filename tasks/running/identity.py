"""The parts of an identity that several stages share, each defined once."""

from typing import Any

from mascing.judges.table import judge_identity
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import ModelConfig, RunConfig
from mascing.schemas.settings.generation_settings import stop_of


def rendered_model_identity(model: ModelConfig, checkpoint: str) -> dict[str, Any]:
    """How the model is loaded and how its prompts are rendered; ``checkpoint`` is the fingerprint of its files.

    Every stage that renders conversations or runs the model includes all of it, or has such a stage as its input.
    """
    return {
        "checkpoint": checkpoint,
        "dtype": model.dtype,
        "trust_remote_code": model.trust_remote_code,  # its own code may make another tokenizer
        "attn_implementation": model.attn_implementation,
        "chat_template": model.chat_template,
    }


def judged_replies_identity(config: RunConfig) -> dict[str, Any]:
    """The settings that determine replies and verdicts, beside the model, its mask and the conversations.

    Every stage that generates and judges replies includes all of them, and :func:`engine_part`. The batch size is
    missing because it is placement: a GPU's memory must not decide whether finished work is found again.
    """
    generation = config.generation
    return {
        "judges": judges_identity(config),
        "generation": {
            "max_new_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
            **_turns_identity(config),
        },
    }


def engine_part(config: RunConfig | CollectionConfig) -> dict[str, Any]:
    """What the engine adds to the identity of what it makes: replies, and traces.

    Empty for `transformers`, whose replies and fingerprints are older than the setting.
    """
    if config.engine.kind == "transformers":
        return {}
    # The engines import torch, which a run with bad input must not wait for.
    from mascing.engines.table import engine_identity

    return {"engine": engine_identity(config.engine)}


def judges_identity(config: RunConfig) -> dict[str, Any]:
    """The settings that determine the verdicts on given replies."""
    return {name: judge_identity(judge) for name, judge in config.behaviour.all_judges.items()}


def generation_identity(config: RunConfig, checkpoint: str) -> dict[str, Any]:
    """The settings that determine replies, beside the mask and the conversations."""
    return {
        **rendered_model_identity(config.model, checkpoint),
        "max_new_tokens": config.generation.max_new_tokens,
        "temperature": config.generation.temperature,
        # The history of a live conversation fits the context in another way; where it stops changes no reply.
        **({"turns": "live"} if config.generation.turns == "live" else {}),
    }


def _turns_identity(config: RunConfig) -> dict[str, Any]:
    """Empty for the fixed histories of `last_turn`, whose replies and fingerprints are older than live ones."""
    generation, behaviour = config.generation, config.behaviour
    if generation.turns == "last_turn":
        return {}
    stops = {name: stop_of(generation, name, judge) for name, judge in behaviour.all_judges.items()}
    return {"turns": generation.turns, "stop_at": stops}
