"""The configuration of one reconfiguration run: typed, frozen, and checked when it is loaded."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.settings.behaviour_settings import BehaviourConfig as BehaviourConfig
from mascing.schemas.settings.behaviour_settings import MatchingConfig as MatchingConfig
from mascing.schemas.settings.engine_settings import RunEngine, TransformersEngine
from mascing.schemas.settings.gate_settings import GatesConfig as GatesConfig
from mascing.schemas.settings.gate_settings import RobustnessConfig as RobustnessConfig
from mascing.schemas.settings.generation_settings import GenerationConfig as GenerationConfig
from mascing.schemas.settings.generation_settings import stop_of
from mascing.schemas.settings.method_settings import MethodsConfig, Positive

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")
"""Values of `device` that spread the layers over all GPUs of a worker."""

# What mascing itself passes to a chat template, or to the function that applies it.
SET_BY_MASCING = {
    *("messages", "conversation", "tools", "tokenize", "add_generation_prompt", "continue_final_message"),
    *("chat_template", "return_dict", "return_tensors", "padding", "truncation", "max_length", "strftime_now"),
}


class ModelConfig(Frozen):
    """How to load the model; ``path`` is a local folder, a storage URL of a folder, or a hub id.

    In a YAML file, relative paths are relative to the file, here and in the rest of the configuration.
    """

    path: str = Field(min_length=1)
    revision: str | None = None
    dtype: Dtype = "auto"
    device: str = "cpu"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    chat_template: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="options of the chat template, such as enable_thinking; `name` chooses one of several templates",
    )

    @field_validator("chat_template")
    @classmethod
    def _leaves_our_own_options(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        ours = sorted(options.keys() & SET_BY_MASCING)
        if ours:
            raise ValueError(f"{' and '.join(ours)} cannot be set: mascing sets {'them' if ours[1:] else 'it'} itself")
        return options


class SplitConfig(Frozen):
    """Share of the groups in each split; a stable hash of the group id assigns a group to its split."""

    train: float = Field(default=0.5, gt=0, lt=1)
    dev: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.3, gt=0, lt=1)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "SplitConfig":
        if abs(self.train + self.dev + self.test - 1) > 1e-9:
            raise ValueError(f"train + dev + test must be 1, not {self.train + self.dev + self.test:g}")
        return self


class LabelConfig(Frozen):
    """How the model's own replies label the conversations: one at the run's generation settings, and more sampled.

    The sampled replies go to target conversations of train and dev. A conversation with hits and misses among its
    replies has both a wanted and an unwanted reply of the model itself.
    """

    samples: int = Field(default=0, ge=0, description="sampled replies per conversation, beside the one that labels it")
    temperature: Positive = Field(default=1.0, description="temperature of the sampled replies")


class HarvestConfig(Frozen):
    """How traces are recorded."""

    rows_per_shard: int = Field(default=256, gt=0, description="conversations per shard")
    batch_tokens: int = Field(default=4096, gt=0, description="maximum padded tokens per batch")


class SurrogateConfig(Frozen):
    """The routing classifiers that `mascing` optimises through: one ensemble per span."""

    members: int = Field(
        default=5,
        gt=0,
        le=100,
        description="surrogates per ensemble, which differ only in their seeds: the search seeds of `mascing`",
    )
    epochs: int = Field(default=30, gt=0)
    traces: int = Field(
        default=1000, gt=0, description="maximum training traces that a surrogate learns from, drawn at random"
    )
    allow_confounded: bool = Field(
        default=False, description="continue even if the form of the conversations explains a surrogate"
    )


class SelectionConfig(Frozen):
    """How the select stage picks one mask per method on dev.

    ``racing``: the teacher-forced margin picks the most promising candidates of each method; these are judged on
    growing blocks of conversations until one is left. ``full``: every candidate is judged on every conversation.
    """

    mode: Literal["racing", "full"] = "racing"
    keep: int = Field(
        default=5,
        gt=1,
        description="maximum candidates per method in the race, capped at a quarter of its grid but at least two",
    )
    blocks: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.25, 0.5, 0.75, 1.0), min_length=1, description="shares of dev after which candidates may drop out"
    )
    sparsify: bool = Field(
        default=True, description="before evaluation, prune each pick to the entries that keep its effect on dev"
    )

    @model_validator(mode="after")
    def _blocks_grow(self) -> "SelectionConfig":
        if any(later <= earlier for earlier, later in zip(self.blocks, self.blocks[1:], strict=False)):
            raise ValueError(f"blocks must grow, for example 0.25, 0.5, 0.75, 1, not {self.blocks}")
        return self


AuditRanking = Literal["attribution", "risk_difference"]


class AuditConfig(Frozen):
    """`mascing audit`: the set whose rate is measured as experts are suppressed, and the ranking of experts."""

    set: str = Field(
        default="target",
        pattern=r"^(target|protected/[a-z0-9_-]+)$",
        description="the set of the safety behaviour, whose wanted replies are the safe ones",
    )
    ranking: AuditRanking = Field(
        default="attribution",
        description="`attribution` needs `wanted` and `unwanted` replies in the set; `risk_difference` needs labels",
    )
    n_suppressed: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(1, 2, 4, 8, 16, 32), min_length=1)
    random_draws: int = Field(default=5, ge=2)

    @model_validator(mode="after")
    def _ranking_fits_the_set(self) -> "AuditConfig":
        if self.ranking == "risk_difference" and self.set != "target":
            raise ValueError(
                "risk_difference compares labelled target conversations: audit target, or rank by attribution"
            )
        if list(self.n_suppressed) != sorted(set(self.n_suppressed)):
            raise ValueError("n_suppressed must increase: write each number once, the smallest first")
        return self


class ComputeConfig(Frozen):
    """Where the work runs; placement never changes a result, so no fingerprint contains it."""

    workers: int = Field(default=2, gt=0, description="at most; those without room join once the cluster has some")
    min_workers: int = Field(default=1, gt=0, description="a stage begins once so many are there")
    num_cpus: float = Field(default=1, ge=0, description="CPUs per worker")
    num_gpus: float = Field(
        default=0,
        ge=0,
        description="GPUs per worker: below 1 a share of one and of its memory, above 1 with model.device: auto",
    )
    backward_tokens: int = Field(
        default=4096,
        gt=0,
        description="maximum padded tokens per backward pass; halved when memory runs out, down to one conversation",
    )
    gradient_checkpointing: bool | None = Field(
        default=None,
        description="recompute each layer for gradients: less memory at the cost of one forward pass; null does so "
        "where one conversation does not fit otherwise",
    )


class RunConfig(Frozen):
    """The configuration of one run: one model, one behaviour, all methods."""

    # A traceback must not show a key that was pasted in place of its variable's name.
    model_config = ConfigDict(hide_input_in_errors=True)

    model: ModelConfig
    behaviour: BehaviourConfig
    seed: int = Field(default=0, ge=0)
    max_quarantined: float = Field(
        default=0.05, ge=0, le=1, description="share of a stage's conversations that may be set aside; above it stops"
    )
    allow_unpublishable: bool = Field(
        default=False, description="go on where no mask can pass the gates, to look at what masks do"
    )
    splits: SplitConfig = SplitConfig()
    label: LabelConfig = LabelConfig()
    harvest: HarvestConfig = HarvestConfig()
    surrogate: SurrogateConfig = SurrogateConfig()
    methods: MethodsConfig = MethodsConfig()
    generation: GenerationConfig = GenerationConfig()
    selection: SelectionConfig = SelectionConfig()
    gates: GatesConfig = GatesConfig()
    robustness: RobustnessConfig = RobustnessConfig()
    audit: AuditConfig = AuditConfig()
    engine: RunEngine = Field(
        default=TransformersEngine(), description="[what replies](#engine) and records the contrast"
    )
    compute: ComputeConfig = ComputeConfig()

    @field_validator("engine", mode="before")
    @classmethod
    def _reaches_the_routers(cls, engine: Any) -> Any:
        if isinstance(engine, dict) and engine.get("kind") == "openai":
            raise ValueError(
                "an endpoint cannot reply in a run, which steers and records the routers of its model: take "
                "`transformers` or `vllm`; judges may ask endpoints"
            )
        return engine

    @model_validator(mode="after")
    def _live_conversations_stop_somewhere(self) -> "RunConfig":
        if self.generation.turns == "last_turn" and self.generation.stop_at.model_dump(exclude_none=True):
            raise ValueError("generation.stop_at is for live conversations: set generation.turns to live, or leave it")
        if self.generation.turns == "live":
            for name, judge in self.behaviour.all_judges.items():
                stop_of(self.generation, name, judge)
        return self

    @model_validator(mode="after")
    def _enough_workers(self) -> "RunConfig":
        if self.compute.min_workers > self.compute.workers:
            raise ValueError(
                f"compute.min_workers is {self.compute.min_workers} and compute.workers {self.compute.workers}: "
                "a stage would never begin; lower min_workers"
            )
        return self

    @model_validator(mode="after")
    def _device_matches_resources(self) -> "RunConfig":
        if self.model.device == "cpu" and self.compute.num_gpus > 0:
            raise ValueError(
                "model.device is cpu but compute.num_gpus reserves GPUs: set device to cuda, or num_gpus to 0"
            )
        if self.model.device.startswith("cuda") and self.compute.num_gpus == 0:
            raise ValueError("model.device is cuda but compute.num_gpus is 0: Ray would hide the GPUs from the workers")
        return self

    @model_validator(mode="after")
    def _vllm_has_one_device(self) -> "RunConfig":
        if self.engine.kind == "vllm" and self.compute.num_gpus > 1:
            raise ValueError(
                f"compute.num_gpus is {self.compute.num_gpus:g}, and the engine `vllm` of a run uses one GPU of a "
                "worker: set num_gpus to 1, or take `transformers`, which spreads the layers over all"
            )
        return self

    @model_validator(mode="after")
    def _model_uses_the_gpus_of_its_worker(self) -> "RunConfig":
        device, num_gpus = self.model.device, self.compute.num_gpus
        if num_gpus > 1 and num_gpus != int(num_gpus):
            raise ValueError(f"compute.num_gpus is {num_gpus:g}: give a worker whole GPUs, or a share of one")
        if num_gpus > 1 and device not in SPREAD:
            raise ValueError(
                f"compute.num_gpus is {num_gpus:g} and model.device {device} uses one GPU of them: set device to auto, "
                "which spreads the layers over all, or num_gpus to 1"
            )
        if 0 < num_gpus < 1 and device in SPREAD:
            raise ValueError(
                f"compute.num_gpus is {num_gpus:g}, a share of one GPU, and model.device {device} would take all of "
                "its free memory: set device to cuda"
            )
        return self
