"""`result.json`: the measurements of a run, under stable names for comparison."""

from typing import Any, Literal

from pydantic import Field

from mascing.schemas.base import Frozen
from mascing.schemas.cards.topic_null import TopicCheck
from mascing.schemas.conversation import Split

Gate = Literal["pass", "fail", "undecided"]
"""A decision. ``undecided``: the evidence could not have shown a failure, so it is no pass; it blocks publication."""

DegenerateKind = Literal["empty", "repeating", "one_reply", "other_script", "unrelated"]
"""What is wrong with a degenerate reply, by mascing/evidence/degenerate.py."""


class Corrected(Frozen):
    """A rate or a difference of rates without the judge's known error, by mascing/statistics/rogan_gladen.py.

    The 95% interval carries the uncertainty of the judge's calibration too.
    """

    value: float
    low: float
    high: float


class Rate(Frozen):
    """A rate or a difference of rates with its 95% interval, clustered by group.

    ``value`` covers the scored conversations; ``low`` and ``high`` count every unscored conversation as the worst case.
    ``n`` is the number of conversations, ``unscored`` the number that the judge could not read. ``corrected`` is there
    if the judge is calibrated.
    """

    value: float
    low: float
    high: float
    n: int = Field(ge=0)
    unscored: int = Field(ge=0)
    corrected: Corrected | None = Field(default=None, exclude_if=lambda corrected: corrected is None)


class SetReplies(Frozen):
    """The unsteered model's replies to one set: ``rate`` is the share of hits, ``cut_off`` reached the token limit."""

    hits: int = Field(ge=0)
    misses: int = Field(ge=0)
    unscored: int = Field(ge=0)
    cut_off: int = Field(ge=0)
    rate: Rate


class Agreement(Frozen):
    """Agreement of the labels in the user's file with the model's own; ``share`` covers the scored conversations."""

    kappa: Rate
    share: float


class SplitSizes(Frozen):
    """Conversations in each split."""

    train: int
    dev: int
    test: int


class Baseline(Frozen):
    """The unsteered model on the test split; ``degenerate`` counts its degenerate replies over all sets."""

    target_rate: Rate
    utility: dict[str, Rate]
    protected: dict[str, Rate]
    degenerate: dict[DegenerateKind, int]


class Comparison(Frozen):
    """The target rates of two methods on the same conversations.

    ``p`` is below 0.05 exactly if the interval of ``difference`` leaves out 0. ``holm_p`` is ``p`` after Holm's
    adjustment for all comparisons of the run.
    """

    method: str
    against: str
    difference: Rate
    p: float
    holm_p: float


class MethodResult(Frozen):
    """The result of one method's selected mask on the test split; ``uplift`` is paired with the baseline.

    ``degenerate`` counts degenerate replies over all sets by kind. ``degenerate_change`` is how much more of them there
    are than without the mask, paired too.
    """

    selected: dict[str, Any]
    target_rate: Rate
    uplift: Rate
    utility: dict[str, Rate]
    protected: dict[str, Rate]
    degenerate: dict[DegenerateKind, int]
    degenerate_change: Rate
    circuit_precision: float | None
    gate: Gate
    reasons: tuple[str, ...]


RemedyKind = Literal["rows", "limit", "unscored", "baseline", "judge", "labels", "cost", "grid", "search", "condition"]
"""What a remedy changes: the data, a gate's limit, a judge or its labels, the search for masks, or a condition."""


class Remedy(Frozen):
    """What would change the decision of a ``gate`` that a mask did not pass, with the numbers of the run.

    ``gate`` is named as in the mask's ``reasons``: `target`, `utility/benign`, `labels`, `paraphrase`.
    """

    gate: str
    kind: RemedyKind
    sentence: str


class DevRates(Frozen):
    """Shares of hits on the judged dev conversations; the target rate is None if none was judged."""

    target_rate: float | None = None
    utility: dict[str, float] = Field(default_factory=dict)
    protected: dict[str, float] = Field(default_factory=dict)

    @property
    def by_set(self) -> dict[str, float]:
        """Every rate by the name of its set, the target first; empty if nothing was judged."""
        if self.target_rate is None:
            return {}
        utility = {f"utility/{name}": rate for name, rate in self.utility.items()}
        protected = {f"protected/{name}": rate for name, rate in self.protected.items()}
        return {"target": self.target_rate, **utility, **protected}


class SeedRates(DevRates):
    """The best cell of one search seed, and how far its target rate is behind the best seed's.

    ``behind`` is paired on the same conversations and negative where the rate is lower; None for the best seed itself.
    ``uplift`` is that over the unsteered model; None in results of version 0.1 before it was recorded.
    ``keeps`` says whether it loses no more on utility and protected sets than a pick may, and ``picked`` whether this
    seed found the method's pick.
    """

    search_seed: int
    behind: Rate | None
    uplift: Rate | None = None
    keeps: bool = True
    picked: bool = False

    @property
    def within_noise(self) -> bool:
        """Whether it keeps the limits and the interval of ``behind`` leaves it open that it is as good as the best."""
        return self.keeps and (self.behind is None or self.behind.high >= 0)

    @property
    def moves(self) -> bool:
        """Whether it certainly raises the target rate over that of the unsteered model."""
        return self.uplift is not None and self.uplift.low > 0


class SeedScatter(Frozen):
    """The search seeds of one method on the first ``judged`` conversations of dev.

    ``within_noise`` counts the seeds that keep the limits and may be as good as the best: the best itself among them,
    unless no seed keeps them. Where no seed moves the target, all are within noise.
    """

    judged: int
    within_noise: int
    seeds: tuple[SeedRates, ...]

    @property
    def target_rates(self) -> tuple[float, float]:
        """The lowest and the highest target rate, whether or not the seeds keep the limits."""
        rates = [seed.target_rate for seed in self.seeds if seed.target_rate is not None]
        return min(rates), max(rates)


class Overlap(Frozen):
    """What the entries of two masks share: an entry is an expert and the direction in which it is moved.

    ``opposed`` counts experts that one mask raises and the other lowers. ``jaccard`` is the share of all entries of
    both that both have; ``by_chance`` is its expectation for entries at random experts of the same layers.
    """

    entries: tuple[int, int]
    shared: int
    opposed: int
    jaccard: float
    by_chance: float


class MaskAgreement(Frozen):
    """The overlap of two methods' picks as they were found, and after pruning (None if the run did not prune)."""

    methods: tuple[str, str]
    full: Overlap
    pruned: Overlap | None


class SingleExpert(Frozen):
    """What one entry of a mask does without the others.

    ``share`` is the rise of the forced target rate (mascing/selection/margin.py) under this entry alone, as a share of
    the rise under the whole mask, clipped to 0 to 1. ``layer`` is the layer's index in the model.
    """

    layer: int
    expert: int
    share: float


class Trust(Frozen):
    """What the run's own data say about its methods.

    ``seeds`` holds the methods that searched with several seeds, ``agreement`` every two methods' picks, and ``single``
    the strongest entries of a pruned pick, each alone: none if the pick does not certainly raise dev's target rate.
    """

    seeds: dict[str, SeedScatter] = Field(default_factory=dict)
    agreement: tuple[MaskAgreement, ...] = ()
    single: dict[str, tuple[SingleExpert, ...]] = Field(default_factory=dict)


class HeldChannel(Frozen):
    """What a channel held when the run ended: its address, and the prefix of the mask."""

    address: str
    mask: str


class UnprovenMask(Frozen):
    """The strongest mask of a run that published none: its ``method``, and the prefix of the ``mask`` with its card.

    It is the pick that dev ranks first, as it was judged on test.
    """

    method: str
    mask: str


class Result(Frozen):
    """The whole of `result.json`.

    ``checkpoint`` is the model's name with the start of its content's digest. ``published`` is the method whose mask
    this run published and ``mask`` its prefix. ``channel`` is what the channel of this model and behaviour held when
    the run ended, which another run may have moved; None if nothing was ever published there.
    ``first_on_dev`` is the method that the dev split ranks first: the only one that may be ``published``. ``unproven``
    is its mask if nothing was published. ``remedies`` are those of each method that did not pass, by method.
    """

    model: str
    checkpoint: str
    behaviour: str
    splits: SplitSizes
    baseline: Baseline
    methods: dict[str, MethodResult]
    first_on_dev: str | None = None
    published: str | None
    labels: dict[Split, dict[str, SetReplies]] = Field(
        default_factory=dict, description="replies of the unsteered model by split and set"
    )
    agreement: Agreement | None = Field(default=None, description="None if the file brought no labels")
    lacking: tuple[str, ...] = Field(
        default=(), description="why there was not enough to learn from; empty if methods were run"
    )
    trust: Trust | None = Field(default=None, description="None if there are no methods")
    topic: dict[str, TopicCheck] = Field(
        default_factory=dict, description="whether topic explains what was learned from, by span of the conversations"
    )
    mask: str | None = None
    unproven: UnprovenMask | None = Field(default=None, description="None if a mask was published or none was made")
    remedies: dict[str, tuple[Remedy, ...]] = Field(
        default_factory=dict, description="what would change the decision, by method that did not pass"
    )
    channel: HeldChannel | None = None
    judging_cost: float | None = Field(
        default=None,
        exclude_if=lambda cost: cost is None,
        description="what the judges of replies took in USD; left out if none has a price",
    )
    timings: dict[str, float]
    engine: str = Field(default="transformers", description="the kind of engine that replied")
    versions: dict[str, str]
