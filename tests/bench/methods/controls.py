"""Shuffles of a run's masks on its test split: how often a control works as well as a method by chance.

After a run, from the root: ``OMP_NUM_THREADS=1 python -m tests.bench.methods.controls mascing-data --shuffles 30``.
"""

import argparse
from collections.abc import Sequence

import torch

from mascing.circuits.control import NAME, shuffled
from mascing.engines.generation import complete, prompts_of
from mascing.evidence.results import method_result
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.runs.finished_run import read_inputs
from mascing.runs.readers import conversations_of, selected_of
from mascing.runs.run_folder import find_run
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.finished import Labelled, Selected
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage


def main() -> None:
    """Print, for each method's mask, how many shuffles have an uplift, and how many of those keep their utility."""
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("--shuffles", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    storage = Storage.open(arguments.storage)
    inputs = read_inputs(storage, find_run(storage).folder)
    config = inputs.run_config
    conversations = conversations_of(storage, read_manifest(storage, inputs.stages["label"], Labelled), "test")
    loaded = load(config.model)
    baseline = judged(loaded, config, conversations, None)
    selected = read_manifest(storage, inputs.stages["select"], Selected)
    for method, candidate in selected_of(storage, selected).items():
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
        {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "outcome": verdict.outcome,
        }
        for conversation, verdict in zip(
            conversations, judge_all(config.behaviour, conversations, replies), strict=True
        )
    ]


if __name__ == "__main__":
    main()
