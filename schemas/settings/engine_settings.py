"""The settings of engines: one model per kind of engine, and their union."""

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag, field_validator, model_validator

from mascing.schemas.base import Frozen

_NAME_OF_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# What keys look like that match the pattern above: `sk_live_51H...`, a run of 32 letters and digits.
_LIKE_A_KEY = re.compile(r"(sk|pk|hf|gsk|key)_[A-Za-z0-9_]{12,}|(?=.*\d)[A-Za-z0-9]{24,}")

_CACHE_ON_CPU = 2**30


class TransformersEngine(Frozen):
    """The model itself, in the worker's process; ``model``, ``generation`` and ``compute`` of the run say how."""

    kind: Literal["transformers"] = "transformers"

    def context(self, of_model: int | None) -> int | None:
        """The tokens that a prompt and its reply may have together, where the model's own context is ``of_model``."""
        return of_model


class VllmEngine(Frozen):
    """vLLM in the worker's process, which must have the package; ``model`` and ``generation`` of the run say the rest.

    Only ``max_model_len`` can change a reply, but for rounding.
    """

    kind: Literal["vllm"] = "vllm"
    max_model_len: int | None = Field(
        default=None,
        gt=0,
        description="tokens of a prompt with its reply at most; a longer prompt loses its oldest tokens, so this "
        "determines replies. Null: the model's context, for one sequence of which the cache must have room",
    )
    max_num_seqs: int = Field(default=256, gt=0, description="conversations that are replied to at the same time")
    gpu_memory_utilization: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of the worker's GPU memory for vLLM's weights and cache; the stages that compute "
        "likelihoods or gradients load the model by transformers beside it",
    )
    kv_cache_memory_bytes: int | None = Field(
        default=None,
        gt=0,
        description="bytes of vLLM's cache of keys and values; null: on a GPU what `gpu_memory_utilization` leaves, on "
        "a CPU 1 GiB",
    )
    enforce_eager: bool = Field(
        default=False,
        description="whether the model's code runs as it is: it starts sooner, by seconds to minutes of compiling, "
        "and replies more slowly",
    )

    def context(self, of_model: int | None) -> int | None:
        """The tokens that a prompt and its reply may have together, where the model's own context is ``of_model``."""
        limits = (of_model, self.max_model_len)
        return min((limit for limit in limits if limit is not None), default=None)

    def cache_bytes(self, num_gpus: float) -> int | None:
        """The bytes of the cache on ``num_gpus`` of a GPU, or at 0 on a CPU; None: what its share of the GPU leaves."""
        return self.kv_cache_memory_bytes or (None if num_gpus else _CACHE_ON_CPU)

    def gpu_share(self, num_gpus: float) -> float:
        """The share of a GPU that vLLM takes, in a worker that has ``num_gpus`` of it."""
        return self.gpu_memory_utilization * min(num_gpus, 1)


class Prices(Frozen):
    """What an endpoint takes, in US dollars per million tokens."""

    prompt: float = Field(ge=0, description="dollars per million tokens of the prompt")
    completion: float = Field(ge=0, description="dollars per million tokens of the answer, thoughts included")


class SpendingLimit(Frozen):
    """What an endpoint's answers may take in all; a request that could take more is not sent."""

    tokens: int | None = Field(default=None, gt=0, description="tokens of prompts and answers together")
    dollars: float | None = Field(default=None, gt=0, description="US dollars; needs `prices`")

    @model_validator(mode="after")
    def _limits_something(self) -> "SpendingLimit":
        if self.tokens is None and self.dollars is None:
            raise ValueError("a budget needs `tokens`, `dollars` or both")
        return self


class OpenAIEngine(Frozen):
    """An OpenAI-compatible endpoint. The key stands in an environment variable, of which this holds the name."""

    # An error names a field that may hold a key by mistake: it does not show what the field holds.
    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["openai"] = "openai"
    base_url: str = Field(
        default="https://api.openai.com/v1", description="up to `/chat/completions`, which is left out"
    )
    model: str = Field(min_length=1, description="the model's name at the endpoint")
    api_key_env: str | None = Field(
        default=None, description="the NAME of the environment variable with the key; null for a server without keys"
    )
    prices: Prices | None = None
    budget: SpendingLimit | None = None
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="the field of a request that limits its answer; OpenAI's newer models have "
        "the second alone"
    )  # fmt: skip
    timeout: float = Field(default=120, gt=0, description="seconds after which a request counts as hanging")
    attempts: int = Field(default=8, gt=0, description="how often a request is sent that fails or hangs")
    patience: float = Field(default=600, gt=0, description="seconds for which a request may be refused for its rate")
    max_concurrency: int = Field(default=64, gt=0, description="requests in flight at most")

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = re.fullmatch(r"https?://(?P<host>[^/?#\s]+)(?P<path>/[^?#\s]*)?", url)
        if parts is None or "@" in parts["host"]:  # a user name, a password or a query may hold a key
            raise ValueError(
                "must be an address such as https://api.openai.com/v1, without a user name or a query: a key belongs "
                "into the environment variable that `api_key_env` names"
            )
        plain = url.rstrip("/")
        if plain.endswith("/chat/completions"):
            raise ValueError("leave out /chat/completions: the address ends before it, often with /v1")
        return plain

    @field_validator("api_key_env", mode="before")
    @classmethod
    def _name_and_no_key(cls, name: Any) -> Any:
        # The value may be a key: no message shows it.
        if name is not None and not (
            isinstance(name, str) and _NAME_OF_VARIABLE.fullmatch(name) and not _LIKE_A_KEY.fullmatch(name)
        ):
            raise ValueError(
                "must be the name of an environment variable, such as OPENAI_API_KEY: put the key into that variable "
                "and out of this file"
            )
        return name

    @model_validator(mode="after")
    def _dollars_need_prices(self) -> "OpenAIEngine":
        if self.budget is not None and self.budget.dollars is not None and self.prices is None:
            raise ValueError("budget.dollars needs `prices`: say what a million tokens cost, or limit budget.tokens")
        return self


RunEngine = Annotated[
    Annotated[TransformersEngine, Tag("transformers")] | Annotated[VllmEngine, Tag("vllm")],
    Field(discriminator="kind"),
]
"""The engine of a run: what replies, and records the contrast, with the routers of the run's own model."""

EngineConfig = Annotated[TransformersEngine | VllmEngine | OpenAIEngine, Field(discriminator="kind")]
"""The engine that replies; ``kind`` selects the model."""
