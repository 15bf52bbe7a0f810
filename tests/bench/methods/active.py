"""Results of the method `active` on testbed conversations that its search never saw, and the cost of the search.

    OMP_NUM_THREADS=1 python -m tests.bench.methods.active --seeds 0 1 2 --folder testbeds

builds the testbed of each seed under the folder unless it exists, and searches on train with the default budget. It
picks a cell on dev as a run does (every cell on the whole split) and prints the rates of the pick and of its control on
test.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from mascing.circuits import control as random
from mascing.circuits.active import search as active
from mascing.circuits.active.trials import LocalEngine
from mascing.conversations.splits import split_of
from mascing.engines.generation import generate
from mascing.evidence.results import CellScore, cell_score
from mascing.judges.judging import judge_all
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.masks.precision import circuit_precision
from mascing.models.loading import Loaded, load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import ActiveConfig
from mascing.selection.choice import choose
from mascing.testbeds.planted import build
from mascing.testbeds.planted.demo_config import demo_config
from mascing.traces.batch_recording import harvest
from mascing.traces.shards import decode, encode
from tests.mascing.conversations.lines import decode_lines, parse_conversations


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="testbeds to measure")
    parser.add_argument("--folder", type=Path, required=True, help="where the testbeds are, or are built")
    parser.add_argument("--behaviour", default="jailbreak-defence")
    parser.add_argument("--budget", type=int, default=ActiveConfig().budget, help="generations of the search")
    parser.add_argument("--search-seed", type=int, help="seed of the search; that of the testbed unless given")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        folder = arguments.folder / f"seed-{seed}"
        if not folder.exists():
            build(seed, folder)
        search_seed = seed if arguments.search_seed is None else arguments.search_seed
        _measure(demo_config(arguments.behaviour, search_seed, str(folder)), ActiveConfig(budget=arguments.budget))


def _measure(config: RunConfig, settings: ActiveConfig) -> None:
    loaded = load(config.model)
    spec = inspect_routers(loaded.model)
    rows, _ = parse_conversations(decode_lines(Path(str(config.behaviour.conversations)).read_bytes()), 100_000)
    train, dev, test = (
        [row for row in rows if split_of(row.group_id, config.splits) == split] for split in ("train", "dev", "test")
    )
    contrast = [row for row in train if row.set == "target"]
    traces = decode([encode(harvest(loaded, contrast, config.harvest.batch_tokens), spec)])
    engine = LocalEngine(loaded, config.behaviour, config.generation)
    started, cpu = time.monotonic(), time.process_time()
    proposal = active.candidates(engine, traces, train, spec, traces.sigma(), settings, config.seed)
    spent = f"{time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
    print(f"{config.model.path}: {spent}; {proposal.note}", flush=True)
    scores = [scored(loaded, config, dev, candidate) for candidate in proposal.candidates]
    pick = proposal.candidates[choose(scored(loaded, config, dev, None), scores, config.gates)]
    truth = load_file(str(config.behaviour.truth))["bias"]
    print(f"  picked {pick.cell}: {pick.mask.entries} entries, precision {circuit_precision(pick.mask, truth):.2f}")
    for name, candidate in (("baseline", None), ("active", pick), ("random", random.shuffled(pick, config.seed))):
        print(f"  test, {name}: {_rates(scored(loaded, config, test, candidate))}", flush=True)


def scored(
    loaded: Loaded, config: RunConfig, conversations: Sequence[Conversation], candidate: Candidate | None
) -> CellScore:
    """The rates of a candidate, or of the unsteered model, on these conversations."""
    mask: Mask | None = candidate.mask if candidate else None
    verdicts = judge_all(config.behaviour, conversations, generate(loaded, conversations, mask, config.generation))
    rows = [
        {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "outcome": verdict.outcome,
        }
        for conversation, verdict in zip(conversations, verdicts, strict=True)
    ]
    return cell_score(candidate.cell if candidate else {}, rows)


def _rates(score: CellScore) -> str:
    rates = {"target": score.target_rate, **score.utility, **score.protected}
    return ", ".join(f"{name} {100 * rate:.1f}%" for name, rate in rates.items())


if __name__ == "__main__":
    main()
