"""The settings of judges that are models: guards, rubric-led language models, classifiers, perplexity."""

from typing import Literal

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.settings.calibrated import Calibrated
from mascing.schemas.settings.engine_settings import OpenAIEngine


class JudgingModel(Frozen):
    """A checkpoint that judges, by transformers, in the process that judges; code in it is never run."""

    path: str = Field(min_length=1, description="a folder, the storage URL of one, or a hub id")
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "cpu"
    batch_size: int = Field(default=8, gt=0, description="replies at once")


class _Speaking(Calibrated):
    """A judge that says its verdict in words: a local ``model``, or one behind an ``endpoint``."""

    model: JudgingModel | None = None
    endpoint: OpenAIEngine | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "_Speaking":
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("give either `model`, which runs here, or `endpoint`")
        return self


GuardFamily = Literal["llama_guard", "wildguard", "shieldgemma", "harmbench"]
GuardFinding = Literal["safe", "unsafe", "refusal", "compliance"]


class GuardJudge(_Speaking):
    """Hit if a guard model finds ``hit_if``; ``unscored`` if what it says is not of its documented form."""

    kind: Literal["llama_guard"] = "llama_guard"
    family: GuardFamily = Field(
        default="llama_guard",
        description="llama_guard (1 to 4), wildguard, shieldgemma, or harmbench for its classifiers",
    )
    hit_if: GuardFinding = Field(
        description="what counts as a hit: a `safe` or an `unsafe` reply; of wildguard also `refusal` or `compliance`"
    )
    prompt: str | None = Field(
        default=None, description="a file with the prompt of wildguard or harmbench; null reads it in the model's card"
    )
    guideline: str | None = Field(
        default=None, pattern=r"\S", description="the policy that shieldgemma judges by, in the words of its card"
    )
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="probability of a violation from which shieldgemma finds a reply unsafe"
    )

    @model_validator(mode="after")
    def _fits_the_family(self) -> "GuardJudge":
        if self.hit_if in ("refusal", "compliance") and self.family != "wildguard":
            raise ValueError(f"{self.family} says nothing of refusals: set hit_if to safe or unsafe, or use wildguard")
        if (self.guideline is not None) != (self.family == "shieldgemma"):
            raise ValueError("shieldgemma needs the `guideline` that it judges by, and no other family takes one")
        if self.prompt is not None and self.family not in ("wildguard", "harmbench"):
            raise ValueError(f"{self.family} has its prompt in its chat template: leave out `prompt`")
        if self.prompt is None and self.endpoint is not None and self.family in ("wildguard", "harmbench"):
            raise ValueError(
                f"behind an endpoint the card of {self.family} cannot be read: give its prompt as a file, and let the "
                "server pass messages on as they are (a chat template of `{{ messages[0].content }}`)"
            )
        return self


SHIPPED_RUBRICS = ("refusal", "compliance", "harmful", "correct", "faithful", "fluent")
"""The names of the rubrics of this package."""


class RubricText(Frozen):
    """A question about a reply. Yes is a hit and no is a miss."""

    question: str = Field(pattern=r"\S", description="a question about the reply that yes or no answers")
    hit: str = Field(pattern=r"\S", description="when the answer is yes")
    miss: str = Field(pattern=r"\S", description="when the answer is no")
    shows: tuple[Literal["conversation", "references"], ...] = Field(
        default=("conversation",), description="what the judge sees beside the reply"
    )
    against: Literal["wanted", "unwanted"] | None = Field(
        default=None, description="compare the reply with this one of the conversation, once in either order"
    )
    sure: tuple[Literal["hit", "miss"], ...] = Field(
        default=(), description="outcomes that hold for a reply that was cut off; other such replies are unscored"
    )


class LlmJudge(_Speaking):
    """Hit if a language model answers the question of ``rubric`` with yes; ``unscored`` if it gives no clear answer."""

    kind: Literal["llm"] = "llm"
    rubric: str | RubricText = Field(
        description="refusal, compliance, harmful, correct, faithful or fluent; a YAML file; or its text"
    )
    output: Literal["json", "line"] | None = Field(
        default=None,
        description="how it answers: JSON by a schema, or `VERDICT: YES` as its last line; null is json at an endpoint",
    )
    max_tokens: int = Field(default=512, gt=0, description="of the judge's answer, thoughts included")


class ClassifierJudge(Calibrated):
    """Hit if a sequence-classification model gives ``label`` at least the probability ``threshold``."""

    kind: Literal["classifier"] = "classifier"
    model: JudgingModel
    label: str | int = Field(description="the label of a hit, by its name in the model's config or by its number")
    threshold: float = Field(default=0.5, gt=0, lt=1)
    reads: Literal["reply", "exchange"] = Field(
        default="reply", description="the reply alone, or the last request and the reply as a pair"
    )


class PerplexityJudge(Calibrated):
    """Hit if the reply's perplexity under a reference model is at most ``at_most``."""

    kind: Literal["perplexity"] = "perplexity"
    model: JudgingModel
    at_most: float = Field(gt=1)
    min_tokens: int = Field(default=8, gt=1, description="shorter replies are unscored")
