"""The configuration of one reconfiguration run: typed, frozen, and refused at load when wrong."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.judges import JudgeConfig
from mascing.schemas.methods import MethodsConfig, Positive

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Text = Annotated[str, Field(pattern=r"\S")]


class ModelConfig(Frozen):
    """Where the model is and how to load it: a local folder, a storage URL of one, or a hub id."""

    path: str = Field(min_length=1)
    revision: str | None = None
    dtype: Dtype = "auto"
    device: str = "cpu"
    attn_implementation: str | None = None
    trust_remote_code: bool = False


class MatchingConfig(Frozen):
    """When a positive and a negative conversation are alike enough to be a pair; only pairs make the contrast."""

    on: tuple[Literal["turns", "length", "topic"], ...] = Field(default=("turns", "length", "topic"), min_length=1)
    length_ratio: float = Field(default=1.5, ge=1, description="characters of the longer one over the shorter, at most")
    topic_similarity: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="cosine of the words of their last requests, at least; conversations of one group need none",
    )


class BehaviourConfig(Frozen):
    """What is steered: its conversations (JSON Lines) and a judge for each kind of set."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    conversations: str = Field(min_length=1)
    target: JudgeConfig
    utility: JudgeConfig
    protected: JudgeConfig
    truth: str | None = Field(
        default=None, description="safetensors file with the known circuit `bias` [L, E], for testbeds"
    )
    max_characters: int = Field(default=100_000, gt=0, description="longer conversations are quarantined")
    matching: MatchingConfig | None = Field(
        default=MatchingConfig(), description="null leaves the two classes as they are"
    )


class SplitConfig(Frozen):
    """Shares of the groups that go to each split, by a stable hash of the group id."""

    train: float = Field(default=0.5, gt=0, lt=1)
    dev: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.3, gt=0, lt=1)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "SplitConfig":
        if abs(self.train + self.dev + self.test - 1) > 1e-9:
            raise ValueError(f"train + dev + test must be 1, not {self.train + self.dev + self.test:g}")
        return self


class HarvestConfig(Frozen):
    """How traces are recorded."""

    rows_per_shard: int = Field(default=256, gt=0, description="conversations a shard")
    batch_tokens: int = Field(default=4096, gt=0, description="padded tokens a batch, at most")


class SurrogateConfig(Frozen):
    """The classifiers of routing that `mascing` searches through: an ensemble for each span."""

    members: int = Field(default=3, gt=0, description="surrogates an ensemble, equal in all but their seeds")
    epochs: int = Field(default=30, gt=0)
    allow_confounded: bool = Field(
        default=False, description="go on where the form of the conversations explains a surrogate"
    )


class GatesConfig(Frozen):
    """What a mask must show on the test split to be published; all rates as fractions of 1."""

    min_uplift: float = Field(default=0.1, ge=0, le=1, description="lower bound of the target uplift must reach it")
    max_utility_loss: float = Field(default=0.1, ge=0, le=1, description="upper bound of each utility loss")
    protected_tolerance: float = Field(default=0.1, ge=0, le=1, description="upper bound of each protected loss")
    min_label_kappa: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        description="lower bound of the agreement of labels with the unsteered model's replies, beyond chance; -1: any",
    )


class RobustnessConfig(Frozen):
    """Conditions under which a mask that passes the gates must hold as well; empty or 0 leaves a condition out.

    Under each, the steered and the unsteered model reply to the same changed conversations. Fewer of these are judged
    than for the gates, so the intervals are wider, and so are the limits by default.
    """

    conversations: int = Field(default=160, gt=0, description="test conversations judged a set, whole groups, at most")
    paraphrase: bool = Field(default=True, description="the final turn in the words of its row's `paraphrase`")
    system_prompts: tuple[Text, ...] = Field(
        default=("You are a helpful assistant.",), description="each put before the conversation, by itself"
    )
    temperatures: tuple[Positive, ...] = Field(default=(0.7,), description="replies sampled instead of greedy")
    earlier_exchanges: int = Field(
        default=2, ge=0, description="exchanges of conversations of other groups put before the first turn"
    )
    uplift_share: float = Field(default=0.5, ge=0, le=1, description="of gates.min_uplift, for the lower bound")
    loss_factor: float = Field(default=2.0, ge=0, description="times the gates' limits, for the bound of each loss")


class SelectionConfig(Frozen):
    """How one mask a method is picked on dev.

    ``racing``: the teacher-forced margin leaves the most promising candidates of each method, which are judged on
    growing blocks of conversations until one is left. ``full``: every candidate is judged on every conversation.
    """

    mode: Literal["racing", "full"] = "racing"
    keep: int = Field(
        default=5, gt=1, description="candidates a method that the margin leaves at most; never over a quarter, or two"
    )
    blocks: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.25, 0.5, 0.75, 1.0), min_length=1, description="shares of dev after which candidates may leave"
    )

    sparsify: bool = Field(
        default=True, description="prune each pick to the entries that keep its effect on dev, before it is evaluated"
    )

    @model_validator(mode="after")
    def _blocks_grow(self) -> "SelectionConfig":
        if any(later <= earlier for earlier, later in zip(self.blocks, self.blocks[1:], strict=False)):
            raise ValueError(f"blocks must grow, such as 0.25, 0.5, 0.75, 1: not {self.blocks}")
        return self


class GenerationConfig(Frozen):
    """How replies are generated for judging, in fixed batches.

    At a temperature above 0 they are sampled, each conversation by a generator of its own, seeded with its id.
    """

    max_new_tokens: int = Field(default=32, gt=0)
    temperature: float = Field(default=0, ge=0, description="0 is greedy")
    batch_size: int = Field(default=64, gt=0)


AuditRanking = Literal["attribution", "risk_difference"]


class AuditConfig(Frozen):
    """`mascing audit`: whose rate is followed while experts are suppressed, and how they are ranked."""

    set: str = Field(
        default="target",
        pattern=r"^(target|protected/[a-z0-9_-]+)$",
        description="the safety behaviour: its wanted replies are the safe ones",
    )
    ranking: AuditRanking = Field(
        default="attribution",
        description="`attribution` needs `wanted` and `unwanted` replies in the set, `risk_difference` labels",
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
            raise ValueError("n_suppressed must rise: write each number once, the smallest first")
        return self


class ComputeConfig(Frozen):
    """Where the work runs. Placement never changes a result, so it is in no fingerprint."""

    workers: int = Field(default=2, gt=0)
    num_cpus: float = Field(default=1, ge=0, description="CPUs a worker")
    num_gpus: float = Field(default=0, ge=0, description="GPUs a worker")
    gradient_checkpointing: bool = Field(
        default=False, description="compute each layer again for gradients: less memory for one more forward"
    )


class RunConfig(Frozen):
    """One model, one behaviour, all methods."""

    model: ModelConfig
    behaviour: BehaviourConfig
    seed: int = Field(default=0, ge=0)
    splits: SplitConfig = SplitConfig()
    harvest: HarvestConfig = HarvestConfig()
    surrogate: SurrogateConfig = SurrogateConfig()
    methods: MethodsConfig = MethodsConfig()
    generation: GenerationConfig = GenerationConfig()
    selection: SelectionConfig = SelectionConfig()
    gates: GatesConfig = GatesConfig()
    robustness: RobustnessConfig = RobustnessConfig()
    audit: AuditConfig = AuditConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _device_matches_resources(self) -> "RunConfig":
        if self.model.device == "cpu" and self.compute.num_gpus > 0:
            raise ValueError(
                "model.device is cpu but compute.num_gpus reserves GPUs: set device to cuda, or num_gpus to 0"
            )
        if self.model.device.startswith("cuda") and self.compute.num_gpus == 0:
            raise ValueError("model.device is cuda but compute.num_gpus is 0: Ray would hide the GPUs from the workers")
        return self
