"""Small runs that find a strong mask or one that passes its gates and does less, by the strength of one search."""

from pathlib import Path

from mascing.flows import finished_line
from mascing.flows.order import whole_line
from mascing.runs.registry import channels
from mascing.schemas.config import RobustnessConfig, RunConfig, SplitConfig
from mascing.schemas.settings.judge_settings import PanelJudge
from mascing.schemas.settings.method_settings import GradientConfig, MethodsConfig
from mascing.schemas.settings.schedule_settings import ScheduleConfig
from mascing.storage.object_storage import Storage
from tests.small_run import GROUPS, small_config
from tests.tasks.here_pool import HerePool

STRONG = 4.0
WEAKER = 2.0, 2.25, 2.5, 2.75, 3.0, 3.125, 3.25, 3.375

# Few conversations give wide intervals; the weaker mask is behind by more than this.
SCHEDULE = ScheduleConfig(tolerance=0.25)


def config_of(testbed: Path, folder: Path, alpha: float) -> RunConfig:
    """A run of `gradient` alone at one strength, without changed conditions.

    Two equal judges judge the target: unlike a judge by rules, a panel is asked anew by a scheduled run.
    """
    gradient = GradientConfig(steps=10, batch_size=8, l1=(1e-3,), alphas=(alpha,), search_seeds=1)
    others = dict.fromkeys(("mascing", "consensus", "steermoe", "refined", "active"))
    small = small_config(testbed, folder, workers=1, groups={**GROUPS, "utility/benign": 50})
    panel = PanelJudge(members=(small.behaviour.target, small.behaviour.target))
    return small.model_copy(
        update={
            "behaviour": small.behaviour.model_copy(update={"target": panel}),
            "methods": MethodsConfig.model_validate({**others, "gradient": gradient}),
            "splits": SplitConfig(train=0.4, dev=0.2, test=0.4),
            "robustness": RobustnessConfig(paraphrase=False, system_prompts=(), temperatures=(), earlier_exchanges=0),
        }
    )


def made(config: RunConfig, storage_url: str) -> None:
    """Run the whole line in this process."""
    whole_line(finished_line._plainly, HerePool(), config, storage_url)


def made_weak(testbed: Path, folder: Path, storage: Storage) -> RunConfig:
    """Run the line until a mask weaker than the candidate passes its gates and takes its place.

    Processors round differently, and so train testbeds on which other strengths are the first to do enough.
    """
    [strong] = channels(storage)
    for alpha in WEAKER:
        config = config_of(testbed, folder, alpha)
        made(config, storage.url)
        if channels(storage) != [strong]:
            return config
    raise AssertionError(f"no mask of the strengths {WEAKER} passes its gates")
