"""The manifest of each stage with the type of its facts; stages pass these to one another."""

from typing import ClassVar, Literal

from mascing.schemas.base import Frozen
from mascing.schemas.facts import (
    AuditFacts,
    CollectionFacts,
    EvaluateFacts,
    GateFacts,
    HarvestFacts,
    IntakeFacts,
    LabelFacts,
    MaskFacts,
    OptimiseFacts,
    PrepareFacts,
    PublishFacts,
    RobustnessFacts,
    SelectFacts,
    TestbedFacts,
    TrainFacts,
)
from mascing.schemas.manifest import Manifest


class TestbedBuilt(Manifest):
    """A testbed: the files of its model, conversations and truth."""

    __test__ = False  # no test class, whatever pytest makes of its name
    stage: Literal["testbed"] = "testbed"
    facts: TestbedFacts


class Prepared(Manifest):
    """Conversations by split."""

    stage: Literal["prepare"] = "prepare"
    facts: PrepareFacts


class Labelled(Manifest):
    """Conversations by split with the model's own labels and replies, and the verdicts on these replies."""

    stage: Literal["label"] = "label"
    facts: LabelFacts


class Harvested(Manifest):
    """Traces of the labelled contrast."""

    stage: Literal["harvest"] = "harvest"
    facts: HarvestFacts


class TakenIn(Manifest):
    """Conversations as they came, in parts that are recorded one by one."""

    stage: Literal["intake"] = "intake"
    facts: IntakeFacts


class Collected(Manifest):
    """Traces of conversations without labels."""

    stage: Literal["collect"] = "collect"
    facts: CollectionFacts


class Trained(Manifest):
    """Ensembles of surrogates."""

    stage: Literal["train"] = "train"
    facts: TrainFacts


class Optimised(Manifest):
    """Candidate masks."""

    stage: Literal["optimise"] = "optimise"
    facts: OptimiseFacts


class Selected(Manifest):
    """One mask per method."""

    stage: Literal["select"] = "select"
    facts: SelectFacts


class Evaluated(Manifest):
    """Verdicts on the test split."""

    stage: Literal["evaluate"] = "evaluate"
    facts: EvaluateFacts


class RobustnessTested(Manifest):
    """Verdicts under changed conditions."""

    stage: Literal["robustness"] = "robustness"
    facts: RobustnessFacts


class Gated(Manifest):
    """Results, decisions and the winner."""

    stage: Literal["gate"] = "gate"
    facts: GateFacts


class Published(Manifest):
    """The published method and mask."""

    stage: Literal["publish"] = "publish"
    facts: PublishFacts


class MaskStored(Manifest):
    """A published mask with its card; it may be the one that is served."""

    remedy: ClassVar[str] = (
        "keep its folder while a channel holds it; if an earlier version wrote it, run again, which publishes the mask "
        "anew, else restore it or choose another mask"
    )

    stage: Literal["masks"] = "masks"
    facts: MaskFacts


class Audited(Manifest):
    """The suppression curve of an audit."""

    stage: Literal["audit"] = "audit"
    facts: AuditFacts


class RunStages(Frozen):
    """The stages that a run finished, by name; None for a stage that it did not finish."""

    testbed: TestbedBuilt | None = None
    prepare: Prepared | None = None
    label: Labelled | None = None
    harvest: Harvested | None = None
    train: Trained | None = None
    optimise: Optimised | None = None
    select: Selected | None = None
    evaluate: Evaluated | None = None
    robustness: RobustnessTested | None = None
    gate: Gated | None = None
    publish: Published | None = None
    masks: MaskStored | None = None

    @property
    def by_name(self) -> dict[str, Manifest]:
        """The manifests of the finished stages, in the order of the line."""
        manifests = ((stage, getattr(self, stage)) for stage in type(self).model_fields)
        return {stage: manifest for stage, manifest in manifests if manifest is not None}


MANIFESTS: dict[str, type[Manifest]] = {
    manifest.stage_name(): manifest
    for manifest in (
        TestbedBuilt,
        Prepared,
        Labelled,
        Harvested,
        TakenIn,
        Collected,
        Trained,
        Optimised,
        Selected,
        Evaluated,
        RobustnessTested,
        Gated,
        Published,
        MaskStored,
        Audited,
    )
}
"""The manifest class of each stage, by the stage's name."""
