"""The configuration of `mascing demo`: the testbed, with grids that a small machine finishes in minutes."""

from mascing.schemas.config import AuditConfig, GatesConfig, GenerationConfig, ModelConfig, RobustnessConfig, RunConfig
from mascing.testbeds.planted import behaviour_config
from mascing.testbeds.planted.levels import LEVELS


def demo_config(behaviour: str, seed: int, folder: str, level: int = 1) -> RunConfig:
    """Return the run on the testbed whose model folder, conversations and truth are at ``folder`` (a path or URL).

    Raises ValueError for a behaviour that the testbed does not have.
    """
    return RunConfig(
        model=ModelConfig(path=folder),
        behaviour=behaviour_config(behaviour, folder, level),
        seed=seed,
        generation=GenerationConfig(max_new_tokens=12, batch_size=128),
        # The audited refusals: those of the target where refusals are wanted, else those of prohibited requests.
        audit=AuditConfig(set="target" if behaviour == "jailbreak-defence" else "protected/prohibited"),
        # Stricter than the default, because the testbed's test split is large enough to show a loss of five points.
        gates=GatesConfig(max_utility_loss=0.05),
        # Replies after a system prompt that the model never saw in training are no evidence.
        robustness=RobustnessConfig(system_prompts=LEVELS[level].seen_systems),
    )
