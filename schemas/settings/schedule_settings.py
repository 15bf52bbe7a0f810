"""What a scheduled run does about the mask that is served: when it promotes, when it alarms, whom it tells."""

from typing import Literal, Self

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen

_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


class NotifyConfig(Frozen):
    """Whom to tell. A secret is never written here: it is read from the environment variable that is named."""

    url: str | None = Field(default=None, pattern=r"^https?://", description="where a message is posted as JSON")
    url_env: str | None = Field(
        default=None, pattern=_NAME, description="environment variable with that URL, where the URL is a secret"
    )
    token_env: str | None = Field(
        default=None, pattern=_NAME, description="environment variable with a token, sent as `Authorization: Bearer`"
    )
    hook: str | None = Field(
        default=None, pattern=r"^[\w.]+:\w+$", description="your function `my_package.my_module:function`"
    )

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if self.url is not None and self.url_env is not None:
            raise ValueError("url and url_env are both set: keep one of them")
        if self.token_env is not None and self.url is None and self.url_env is None:
            raise ValueError("token_env has no url to go to: set url or url_env")
        return self


class ScheduleConfig(Frozen):
    """The channel that is served, and what a scheduled run may do to it; all shares are fractions of 1."""

    channel: str = Field(
        default="production", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the channel that is served"
    )
    promote: bool = Field(default=True, description="false only says what would be promoted")
    tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="most that a rate may fall: of a candidate behind the live mask, by the lower bound; of the live "
        "mask behind its own earlier verdicts, where the fall is significant",
    )
    min_shift: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="least share of a layer's selections that moved to other experts and counts as routing drift, "
        "where it is significant",
    )
    min_agreement: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="least share of its earlier verdicts that a judge gives again, by the lower bound: 48 replies are "
        "judged anew by each judge that is a model or your own; 0 asks for none",
    )
    on_regression: Literal["hold", "roll_back"] = Field(
        default="hold",
        description="what happens to a live mask that regressed and has no successor: it stays, or the channel goes "
        "back to the mask before if that passes its gates today; either is told",
    )
    notify: NotifyConfig = NotifyConfig()
