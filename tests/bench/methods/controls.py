"""What shuffles of a run's masks do on its test split: how often a control by chance does the work of a method.

After a run, from the root: ``OMP_NUM_THREADS=1 python -m tests.bench.methods.controls mascing-data --shuffles 30``.
"""

import argparse
from collections.abc import Sequence

import torch

from mascing.circuits.control import NAME, shuffled
from mascing.conversations.json_lines import from_table
from mascing.engines.generation import complete, prompts_of
from mascing.evidence.results import method_result
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.report.reading import ReportInputs
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.storage import parquet as tables
from mascing.storage.manifests import read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.selecting import selected_of


def main() -> None:
    """Print, for each method's mask, how many shuffles have an uplift, and how many of those keep their utility."""
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("--shuffles", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    storage = Storage.open(arguments.storage)
    inputs = ReportInputs.model_validate_json(storage.read("report/inputs.json"))
    manifests = {stage: read_manifest(storage, prefix) for stage, prefix in inputs.stages.items()}
    config = inputs.run_config
    data = read_shard(storage, manifests["prepare"], "conversations-test.parquet")
    conversations = from_table(tables.from_bytes(data))
    loaded = load(config.model)
    baseline = judged(loaded, config, conversations, None)
    for method, candidate in selected_of(storage, manifests["select"]).items():
        if method == NAME:
            continue
        results = [
            method_result(
                baseline,
                judged(loaded, config, conversations, shuffled(candidate, seed).mask),
                selected={},
                circuit_precision=None,
                gates=config.gates,
            )
            for seed in range(arguments.shuffles)
        ]
        lifted = [result for result in results if result.uplift.low > 0]
        passed = sum(result.gate == "pass" for result in results)
        highest = max(result.uplift.value for result in results)
        print(
            f"{method}: {candidate.mask.entries} entries; of {len(results)} shuffles {len(lifted)} have an uplift "
            f"with its interval above 0, {passed} pass their gates; the highest uplift is {100 * highest:.1f} points",
            flush=True,
        )


def judged(
    loaded: Loaded, config: RunConfig, conversations: Sequence[Conversation], mask: Mask | None
) -> list[dict[str, str]]:
    """Verdicts on the replies under a mask."""
    replies = complete(loaded, prompts_of(loaded, conversations, config.generation), mask, config.generation)
    return [
        {"conversation_id": one.id, "group_id": one.group_id, "set": one.set, "outcome": verdict.outcome}
        for one, verdict in zip(conversations, judge_all(config.behaviour, conversations, replies), strict=True)
    ]


if __name__ == "__main__":
    main()
