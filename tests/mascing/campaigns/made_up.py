"""A campaign of made-up cells: two models, two behaviours, two methods, two seeds, and one failed run."""

from collections.abc import Sequence

from mascing.campaigns.leaderboard import Board, Outcome
from mascing.campaigns.ranking import Measured
from mascing.schemas.campaign import (
    Campaign,
    CampaignConfig,
    CellCost,
    CellResult,
    FailedRun,
    GroupHits,
    PlannedRun,
    PublishedNumber,
)
from mascing.schemas.config import BehaviourConfig, ModelConfig, RunConfig
from mascing.schemas.result import Rate
from mascing.schemas.settings.judge_settings import RefusalJudge
from mascing.schemas.settings.method_settings import MascingConfig, MethodsConfig, SteerMoEConfig
from mascing.schemas.verdict import Outcome as Said
from mascing.statistics import paired_difference

UPLIFTS = {"steermoe": 0.5, "mascing": 0.25, "random": 0.0}
GROUPS, EACH = 20, 4
OFF = {"consensus": None, "gradient": None, "refined": None, "active": None}


def config() -> CampaignConfig:
    return CampaignConfig(
        name="made-up",
        models={"a": {}, "b": {}},
        behaviours={"defence": {}, "policy": {}},
        methods={"steermoe": {}, "mascing": {}},
        seeds=(0, 1),
        published=(
            PublishedNumber(behaviour="defence", method="steermoe", unsteered=0.4, steered=0.9, source="a paper"),
            PublishedNumber(model="a", behaviour="policy", method="other", steered=0.7, source="a paper"),
        ),
    )


def run(model: str, behaviour: str, seed: int) -> PlannedRun:
    judge = RefusalJudge()
    settings = RunConfig(
        model=ModelConfig(path=f"/models/{model}"),
        behaviour=BehaviourConfig(name=behaviour, conversations="/c", target=judge, utility=judge, protected=judge),
        methods=MethodsConfig(mascing=MascingConfig(), steermoe=SteerMoEConfig(), **OFF),  # type: ignore[arg-type]
        seed=seed,
    )
    return PlannedRun(model=model, behaviour=behaviour, seed=seed, config=settings)


def rate(value: float) -> Rate:
    return Rate(value=value, low=value - 0.1, high=value + 0.1, n=GROUPS * EACH, unscored=0)


def cell(of: PlannedRun, method: str, p: float = 0.001, uplift: float | None = None) -> CellResult:
    gained = UPLIFTS[method] if uplift is None else uplift
    return CellResult(
        run=f"{of.name}-0123456789abcdef",
        method=method,
        checkpoint=f"{of.model}-cccccccccccc",
        unsteered=rate(0.25),
        target_rate=rate(0.25 + gained),
        uplift=rate(gained),
        changes={"target": rate(gained), "utility/x": rate(-0.02), "utility/y": rate(0.01), "protected/z": rate(0.0)},
        unscored=3,
        gate="pass" if method == "steermoe" else "fail",
        reasons=(),
        published=method == "steermoe",
        selected={},
        p=p,
        p_control=None if method == "random" else 0.04,
        groups=tuple(
            GroupHits(group_id=f"g{n:02d}", conversations=EACH, before=1, after=1 + round(gained * EACH))
            for n in range(GROUPS)
        ),
        cost=CellCost(replies=1000, tokens_per_reply=7.5),
    )


def board() -> Board:
    """All runs are finished but two of model b: one failed, and one has not been tried."""
    runs = tuple(run(m, b, s) for m in ("a", "b") for b in ("defence", "policy") for s in (0, 1))
    outcomes = {each.name: Outcome({name: cell(each, name) for name in UPLIFTS}) for each in runs[:6]}
    outcomes[runs[6].name] = Outcome(failed=FailedRun(reason="the model does not load: bring another"))
    return Board(Campaign(config=config(), runs=runs), outcomes)


def measured(hits: Sequence[int], each: int = EACH) -> Measured:
    """A method that makes hits of this many of the ``each`` conversations of every group, of which none was one."""
    outcomes: list[Said] = []
    for hit in hits:
        outcomes += ["hit"] * hit
        outcomes += ["miss"] * (each - hit)
    groups = [f"g{n:03d}" for n in range(len(hits)) for _ in range(each)]
    uplift = paired_difference(["miss"] * len(outcomes), outcomes, groups)
    counted = (
        GroupHits(group_id=f"g{n:03d}", conversations=each, before=0, after=int(hit)) for n, hit in enumerate(hits)
    )
    return Measured(uplift, tuple(counted))
