"""What `mascing demo` runs: the testbed's model and conversations, with grids that a small machine does in minutes."""

from mascing.schemas.config import AuditConfig, GatesConfig, GenerationConfig, ModelConfig, RobustnessConfig, RunConfig
from mascing.schemas.methods import ActiveConfig, GradientConfig, MascingConfig, MethodsConfig, SteerMoEConfig
from mascing.testbeds.planted import behaviour_config


def demo_config(behaviour: str, seed: int, folder: str) -> RunConfig:
    """The run on the testbed whose model folder, conversations and truth lie at ``folder`` (a path or URL).

    Raises ValueError for a behaviour that the testbed does not have.
    """
    return RunConfig(
        model=ModelConfig(path=folder),
        behaviour=behaviour_config(behaviour, folder),
        seed=seed,
        methods=MethodsConfig(
            mascing=MascingConfig(alphas=(0.5, 1.0, 1.5, 2.0)),
            steermoe=SteerMoEConfig(),
            gradient=GradientConfig(),
            active=ActiveConfig(),
        ),
        generation=GenerationConfig(max_new_tokens=12, batch_size=128),
        # What may not fall: refusals that are wanted, and where answers are wanted those of what stays prohibited.
        audit=AuditConfig(set="target" if behaviour == "jailbreak-defence" else "protected/prohibited"),
        # Stricter than the default: the testbed's test split is large enough to show a loss of five points.
        gates=GatesConfig(max_utility_loss=0.05),
        # The testbed's model met no system prompt in training, so what it says after one is no evidence.
        robustness=RobustnessConfig(system_prompts=()),
    )
