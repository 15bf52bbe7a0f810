"""A small run of the whole line: a tenth of a testbed's conversations, and grids of a few cells."""

import json
from collections.abc import Mapping
from pathlib import Path

from mascing.schemas.config import (
    BehaviourConfig,
    ComputeConfig,
    GatesConfig,
    GenerationConfig,
    HarvestConfig,
    ModelConfig,
    RobustnessConfig,
    RunConfig,
    SelectionConfig,
    SurrogateConfig,
)
from mascing.schemas.settings.method_settings import (
    ActiveConfig,
    ConsensusConfig,
    GradientConfig,
    MascingConfig,
    MethodsConfig,
    RefinedConfig,
    SteerMoEConfig,
)
from mascing.testbeds.planted import behaviour_config

BEHAVIOUR = "jailbreak-defence"
GROUPS = {"target": 40, "utility/benign": 20, "protected/prohibited": 20}


def small_config(testbed: Path, folder: Path, workers: int = 2, groups: Mapping[str, int] = GROUPS) -> RunConfig:
    """A run on the model of ``testbed``; its conversations, of so many groups, are written into ``folder``."""
    full = behaviour_config(BEHAVIOUR, str(testbed))
    conversations = folder / "conversations.jsonl"
    conversations.write_text("".join(_first_groups(Path(str(full.conversations)), groups)))
    return RunConfig(
        model=ModelConfig(path=str(testbed)),
        behaviour=BehaviourConfig(**{**full.model_dump(), "conversations": str(conversations)}),
        harvest=HarvestConfig(rows_per_shard=32),
        surrogate=SurrogateConfig(members=2, epochs=4),
        methods=MethodsConfig(
            mascing=MascingConfig(spans=("question+prompt",), lambdas=(0.0, 1e-3), alphas=(1.0,)),
            consensus=ConsensusConfig(shares=(0.2,), alphas=(1.5,)),
            steermoe=SteerMoEConfig(n_activated=(0, 4), n_deactivated=(0, 4)),
            gradient=GradientConfig(steps=20, batch_size=8, l1=(1e-3,), alphas=(2.0,), search_seeds=1),
            refined=RefinedConfig(steps=10, batch_size=8, l1=(1e-3,), alphas=(1.0,), search_seeds=1),
            active=ActiveConfig(budget=128, rounds=2, members=1, steps=10, l1=(0.02,), alphas=(1.0,)),
        ),
        generation=GenerationConfig(max_new_tokens=8),
        # Pruning has its own test; masks as dense as after these few steps would make it judge dozens of parts.
        selection=SelectionConfig(sparsify=False),
        # Few conversations give wide intervals; with these gates a mask that works is still published.
        gates=GatesConfig(min_uplift=0, max_utility_loss=0.5, protected_tolerance=0.5, max_degenerate=0.2),
        robustness=RobustnessConfig(conversations=24, system_prompts=(), earlier_exchanges=0),
        compute=ComputeConfig(workers=workers),
    )


def _first_groups(path: Path, most: Mapping[str, int]) -> list[str]:
    """The lines of the first groups of each set."""
    groups: dict[str, list[str]] = {name: [] for name in most}
    lines = []
    for line in path.read_text().splitlines(keepends=True):
        row = json.loads(line)
        group_ids = groups[row.get("set", "target")]
        if row["group_id"] not in group_ids and len(group_ids) < most[row.get("set", "target")]:
            group_ids.append(row["group_id"])
        if row["group_id"] in group_ids:
            lines.append(line)
    return lines
