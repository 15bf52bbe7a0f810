"""The parts of an identity that several stages share, each said once."""

from typing import Any

from mascing.judges.table import judge_identity
from mascing.schemas.config import RunConfig


def judged_replies_identity(config: RunConfig) -> dict[str, Any]:
    """What decides replies and verdicts beside the model, its mask and the conversations.

    Every stage that has replies generated and judged takes this whole. The batch size is missing because it is
    placement: what fits into a GPU must not decide whether finished work is found again.
    """
    behaviour, generation = config.behaviour, config.generation
    return {
        "judges": {kind: judge_identity(getattr(behaviour, kind)) for kind in ("target", "utility", "protected")},
        "generation": {"max_new_tokens": generation.max_new_tokens, "temperature": generation.temperature},
    }
