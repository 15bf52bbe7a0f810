"""Build the testbed's folder: the split model, its conversations, its perplexities and a run configuration."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from mascing.engines.generation import generate
from mascing.models.loading import Loaded
from mascing.schemas.config import (
    BehaviourConfig,
    GenerationConfig,
    HarvestConfig,
    ModelConfig,
    RobustnessConfig,
    RunConfig,
    SelectionConfig,
    SurrogateConfig,
)
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.schemas.settings.method_settings import GradientConfig, MascingConfig, MethodsConfig, SteerMoEConfig
from mascing.testbeds.smollm.dense import load_dense
from mascing.testbeds.smollm.perplexity import experts_on, perplexity
from mascing.testbeds.smollm.questions import conversations
from mascing.testbeds.smollm.split import split
from mascing.testbeds.smollm.writing import prose, written

EXPERTS, TOP_K = 32, 28
GENERATION = GenerationConfig(max_new_tokens=12, batch_size=64)

Progress = Callable[[str, int, int], None]


def build(
    out_dir: str | Path, n_experts: int = EXPERTS, top_k: int = TOP_K, seed: int = 0, progress: Progress | None = None
) -> None:
    """Write ``model/``, ``conversations.jsonl``, ``perplexity.json`` and ``run.yaml`` into ``out_dir``.

    Calls ``progress(part, done, total)`` after every step of each part. Raises ModelError if the packages of the dense
    model are not installed.
    """

    def report(part: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(part, done, total)

    folder = Path(out_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    dense = load_dense()
    text_BT = written(dense, seed, report("text"))
    model = split(dense.model, text_BT, n_experts, top_k, seed, report("layers"))
    model.save_pretrained(folder / "model")
    dense.tokenizer.save_pretrained(folder / "model")
    _write_perplexities(folder, dense, model, n_experts, top_k)
    _write_conversations(folder, Loaded(model, dense.tokenizer), seed)
    config = run_config(folder, seed).model_dump(mode="json")
    (folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def run_config(folder: Path, seed: int) -> RunConfig:
    """Return the run on a built folder, with grids that two cores finish in about a quarter of an hour."""
    exact = ExactJudge()
    return RunConfig(
        model=ModelConfig(path=str(folder / "model")),
        behaviour=BehaviourConfig(
            name="faithfulness",
            conversations=str(folder / "conversations.jsonl"),
            target=exact,
            utility=exact,
            protected=exact,
        ),
        seed=seed,
        harvest=HarvestConfig(batch_tokens=2048),
        # The run reports what explains the labels, and judges in any case whether a mask changes the replies.
        surrogate=SurrogateConfig(members=1, allow_confounded=True),
        methods=MethodsConfig(
            mascing=MascingConfig(spans=("question+prompt",), lambdas=(1e-4, 1e-3), alphas=(1.0, 3.0)),
            consensus=None,
            steermoe=SteerMoEConfig(n_activated=(0, 30), n_deactivated=(30, 60)),
            gradient=GradientConfig(steps=20, batch_size=4, l1=(1e-3,), alphas=(1.0, 2.0), search_seeds=1),
            active=None,
        ),
        # Nothing here may need many replies: each takes half a second on one core.
        selection=SelectionConfig(mode="full", sparsify=False),
        robustness=RobustnessConfig(paraphrase=False, system_prompts=(), temperatures=(), earlier_exchanges=0),
        generation=GENERATION,
    )


def _write_perplexities(folder: Path, dense: Loaded, model: object, n_experts: int, top_k: int) -> None:
    """Write perplexities on the prose: of the dense model, and of the split one with ``top_k`` and more experts."""
    text_BT = prose(dense)
    perplexities: dict[str, float] = {"dense": perplexity(dense.model, text_BT)}
    for n_selected in sorted({top_k, n_experts - 2, n_experts}):
        with experts_on(model, n_selected):
            perplexities[f"{n_selected} of {n_experts}"] = perplexity(model, text_BT)
    (folder / "perplexity.json").write_text(json.dumps(perplexities, indent=1) + "\n", encoding="utf-8")


def _write_conversations(folder: Path, loaded: Loaded, seed: int) -> None:
    def reply(unanswered: Sequence[Conversation]) -> list[str]:
        return [reply.text for reply in generate(loaded, unanswered, None, GENERATION)]

    made = conversations(reply, seed)
    lines = [row.model_dump_json(exclude_none=True, exclude={"references", "metadata"}) for row in made]
    (folder / "conversations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
