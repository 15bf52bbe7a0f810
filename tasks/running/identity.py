"""The parts of an identity that several stages share, each defined once."""

from typing import Any

from mascing.judges.table import judge_identity
from mascing.schemas.config import RunConfig


def judged_replies_identity(config: RunConfig) -> dict[str, Any]:
    """The settings that determine replies and verdicts, beside the model, its mask and the conversations.

    Every stage that generates and judges replies includes all of them. The batch size is missing because it is
    placement: a GPU's memory must not decide whether finished work is found again.
    """
    judges = {kind: judge_identity(getattr(config.behaviour, kind)) for kind in ("target", "utility", "protected")}
    generation = config.generation
    return {
        "judges": judges,
        "generation": {"max_new_tokens": generation.max_new_tokens, "temperature": generation.temperature},
    }


def loading_identity(config: RunConfig) -> dict[str, Any]:
    """The settings beside the checkpoint that determine the loaded model and its tokenizer."""
    model = config.model
    return {
        "dtype": model.dtype,
        "trust_remote_code": model.trust_remote_code,  # its own code may make another tokenizer
        "attn_implementation": model.attn_implementation,
    }


def generation_identity(config: RunConfig) -> dict[str, Any]:
    """The settings that determine replies, beside the checkpoint, the mask and the conversations."""
    return {
        **loading_identity(config),
        "max_new_tokens": config.generation.max_new_tokens,
        "temperature": config.generation.temperature,
    }
