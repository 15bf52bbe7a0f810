"""The facts of each stage: small results in its manifest, checked whenever the manifest is read.

``version`` is the version of the stage's recipe (see Facts). Raise it in the same commit that changes the stage's
output for the same inputs; tests/tasks/test_recipe_versions.py fails otherwise.
"""

from typing import Literal

from pydantic import Field

from mascing.schemas.base import Frozen
from mascing.schemas.cards.dev_race import DevCell, PrunedPick, SeedPick, SelectionCost
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.cards.suppression_curve import Audit
from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.schemas.cards.topic_null import ExpertNull
from mascing.schemas.conversation import Split
from mascing.schemas.manifest import Facts
from mascing.schemas.result import (
    Agreement,
    Baseline,
    Comparison,
    DevRates,
    MethodResult,
    Rate,
    SetReplies,
    SplitSizes,
)


class TestbedFacts(Facts):
    """Nothing but the recipe's version."""

    __test__ = False  # no test class, whatever pytest makes of its name
    version: Literal[3] = 3


class MatchedCounts(Frozen):
    """The number of conversations of each class in a split, and of the pairs that matching formed."""

    positive: int
    negative: int
    pairs: int

    @property
    def unmatched(self) -> int:
        """Conversations without a partner, which the contrast leaves out."""
        return self.positive + self.negative - 2 * self.pairs


class GivenReplies(Frozen):
    """How a judge reads the `wanted` or `unwanted` replies that the file gives for one kind of set.

    ``misread`` counts the verdicts that are not what the file claims; ``example`` shows one of them.
    """

    kind: str
    field: Literal["wanted", "unwanted"]
    total: int
    misread: int
    example: str


class PrepareFacts(Facts):
    """Conversations by split, then by set, and how the judges read the replies that the file gives."""

    version: Literal[6] = 6
    splits: SplitSizes
    sets: dict[Split, dict[str, int]]
    given: tuple[GivenReplies, ...] = ()


class ContrastCounts(Frozen):
    """The conversations of a split that methods learn from, and their groups.

    ``both`` of them have a wanted and an unwanted reply; in ``on_policy`` of these, both are the model's own replies
    to that conversation.
    """

    positive: int
    negative: int
    positive_groups: int
    negative_groups: int
    both: int
    on_policy: int


class JudgingFacts(Facts):
    """Of a stage that judges replies: ``judging_cost`` is what its judges took in USD, None if none has a price."""

    judging_cost: float | None = None


class LabelFacts(JudgingFacts):
    """The unsteered model's replies by split and set, and what they leave to learn from in train and dev.

    ``checkpoint`` identifies weights and tokenizer. ``matching`` is empty if matching was off; ``unmatched`` says why
    a split has no pair. ``agreement`` is None if the file brought no labels. ``cut_off`` says which token limit the
    replies need that were cut off before they could be judged, None if there are none.
    """

    version: Literal[5] = 5
    checkpoint: str
    sets: dict[Split, dict[str, SetReplies]]
    matching: dict[Split, MatchedCounts]
    unmatched: dict[Split, str]
    contrast: dict[Split, ContrastCounts]
    agreement: Agreement | None
    cut_off: str | None = None


class RouterFacts(Frozen):
    """The routers of the harvested model: the fields of RouterSpec (mascing/routers/spec.py)."""

    family: str
    layer_ids: tuple[int, ...]
    n_experts: int
    top_k: int
    scoring: str
    fingerprint: str
    groups: tuple[int, int] | None = None


class HarvestFacts(Facts):
    """The recorded traces: ``checkpoint`` identifies weights and tokenizer.

    ``quarantined`` are the ids of the conversations that could not be recorded.
    ``sigma`` [L], ``tokens`` and the class counts describe the train split.
    """

    version: Literal[5] = 5
    checkpoint: str
    spec: RouterFacts
    sigma: tuple[float, ...]
    tokens: int
    positive: int
    negative: int
    quarantined: tuple[str, ...] = ()


class IntakeFacts(Facts):
    """Conversations that were taken in; each part is a shard."""

    version: Literal[1] = 1
    conversations: int


class CollectionFacts(Facts):
    """Traces of conversations without labels: ``checkpoint`` identifies weights and tokenizer.

    ``sigma`` [L] is the spread of each kept layer's logits; empty if no logits are kept.
    """

    version: Literal[2] = 2
    checkpoint: str
    spec: RouterFacts
    samples: int
    tokens: int
    sigma: tuple[float, ...]


class TrainFacts(Facts):
    """The card of each span's ensemble, and the strongest experts of each span beside splits by topic and at random."""

    version: Literal[5] = 5
    cards: dict[str, SurrogateCard] = Field(default_factory=dict)
    experts: dict[str, ExpertNull] = Field(default_factory=dict)


class OptimiseFacts(Facts):
    """Candidates by method, and the cost of each search; ``costs`` omits a search without passes and trials."""

    version: Literal[5] = 5
    candidates: dict[str, int]
    costs: dict[str, SearchCost] = Field(default_factory=dict)


class SelectFacts(JudgingFacts):
    """The race on dev: ``picked`` is the number of each method's pick among its own cells.

    ``order`` ranks the methods by their picks on dev, the best first. ``scatter`` holds the best cell of every search
    seed, by method, for the methods that searched with several.
    """

    version: Literal[5] = 5
    baseline: DevRates
    cells: tuple[DevCell, ...]
    picked: dict[str, int]
    sparsified: dict[str, PrunedPick]
    order: tuple[str, ...]
    cost: SelectionCost
    scatter: dict[str, tuple[SeedPick, ...]] = Field(default_factory=dict)


class EvaluateFacts(JudgingFacts):
    """The methods whose picks were judged, `baseline` among them."""

    version: Literal[4] = 4
    methods: tuple[str, ...]


class RobustnessFacts(JudgingFacts):
    """``conditions`` in the order of their numbers, the judged ``methods``, and why a condition was ``left_out``."""

    version: Literal[4] = 4
    conditions: tuple[str, ...]
    methods: tuple[str, ...]
    left_out: dict[str, str]


class GateFacts(Facts):
    """Results and decisions on the test split.

    ``first_on_dev`` is the method that the dev split ranks first, ``winner`` the same if it passes and otherwise None.
    ``labels`` is the agreement of labels with the unsteered model. ``robustness`` is the paired change by method,
    condition and set.
    """

    version: Literal[3] = 3
    baseline: Baseline
    methods: dict[str, MethodResult]
    first_on_dev: str | None
    winner: str | None
    labels: Rate | None
    comparisons: tuple[Comparison, ...]
    robustness: dict[str, dict[str, dict[str, Rate]]]


class PublishFacts(Facts):
    """The published method and the prefix of its mask; both are None if no method passed."""

    version: Literal[3] = 3
    winner: str | None
    masks: str | None


class MaskFacts(Facts):
    """Nothing but the recipe's version."""

    version: Literal[3] = 3


class AuditFacts(Facts):
    """The suppression curve of the audit."""

    version: Literal[5] = 5
    audit: Audit
