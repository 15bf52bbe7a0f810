"""The speaker that a judge's settings name."""

from typing import Any

from mascing.errors import ConfigError
from mascing.judges.speakers.speaker import Speaker
from mascing.schemas.settings.judging_models import GuardJudge, LlmJudge


def speaker_of(config: GuardJudge | LlmJudge) -> Speaker:
    """The model that speaks for the judge. It is loaded, or its key read, when it is first asked."""
    if config.endpoint is not None:
        from mascing.judges.speakers.remote import RemoteSpeaker

        return RemoteSpeaker(config.endpoint)
    if config.model is None:
        raise ConfigError("give either `model`, which runs here, or `endpoint`")
    from mascing.judges.speakers.local import LocalSpeaker

    return LocalSpeaker(config.model)


def speaker_identity(config: GuardJudge | LlmJudge) -> dict[str, Any]:
    """What determines the answers. Behind an endpoint that is the name of the model, for what it is worth."""
    if config.endpoint is not None:
        return {"model": config.endpoint.model, "base_url": config.endpoint.base_url}
    if config.model is None:
        raise ConfigError("give either `model`, which runs here, or `endpoint`")
    from mascing.judges.speakers.checkpoint import model_identity

    return model_identity(config.model)
