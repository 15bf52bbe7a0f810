"""The tables of docs/testbeds.md, from the stored runs of `mascing demo` on one storage URL a testbed.

    python -m tests.bench.methods.levels_table runs/L2s0 runs/L2s1 ...

Prints a row for each method of each run, then what the runs say of surrogates, the plain risk difference, search seeds
and the cost of selection.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file

from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.masks.precision import map_precision
from mascing.runs.finished_run import read_inputs, read_result, stages_at
from mascing.runs.readers import traces_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.result import Rate, Result
from mascing.storage.object_storage import Storage


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path, nargs="+", help="storage folders of demos")
    runs = [path.parent for folder in parser.parse_args().storage for path in sorted(folder.glob("runs/*/result.json"))]
    print("| testbed | behaviour | method | target | benign / prohibited | circuit precision | experts | gates |")
    print("|---|---|---|---|---|---|---|---|")
    for run in runs:
        _print_methods(read_result(*_opened(run)))
    print("\n| testbed | behaviour | AUC on dev | risk difference | selection | seeds within noise of the best |")
    print("|---|---|---|---|---|---|")
    for run in runs:
        _print_run(*_opened(run))


def _opened(run: Path) -> tuple[Storage, RunFolder]:
    return Storage.open(str(run.parent.parent)), RunFolder(run.name)


def _print_methods(result: Result) -> None:
    name, baseline = f"{_name(result)} | {result.behaviour}", result.baseline
    print(
        f"| {name} | baseline | {_rate(baseline.target_rate)} | {_kept(baseline.utility, baseline.protected)} | | | |"
    )
    for method, row in result.methods.items():
        precision = "" if row.circuit_precision is None else f"{row.circuit_precision:.2f}"
        print(
            f"| {name} | {method} | {_rate(row.target_rate)} | {_kept(row.utility, row.protected)} | {precision} | "
            f"{row.selected.get('kept', '')} | {row.gate} |"
        )


def _print_run(storage: Storage, run: RunFolder) -> None:
    result, inputs = read_result(storage, run), read_inputs(storage, run)
    stages = stages_at(storage, inputs.stages)
    assert stages.train is not None  # a finished demo has every stage
    assert stages.select is not None
    assert stages.harvest is not None
    assert result.trust is not None
    assert inputs.run_config.behaviour.truth is not None
    auc = max(card.auc.value for card in stages.train.facts.cards.values())
    counts = count_selections(traces_of(storage, stages.harvest, "train").span("question+prompt"))
    precision = map_precision(counts.risk_difference(), load_file(inputs.run_config.behaviour.truth)["bias"])
    cost = stages.select.facts.cost
    seeds = [f"{method} {row.within_noise} of {len(row.seeds)}" for method, row in result.trust.seeds.items()]
    print(
        f"| {_name(result)} | {result.behaviour} | {auc:.3f} | {precision:.2f} | "
        f"{100 * cost.share:.0f}% of {cost.replies_of_full_grid:,} | {', '.join(seeds)} |",
        flush=True,
    )


def _name(result: Result) -> str:
    """The testbed's family and seed."""
    return result.model.rpartition("-")[0]


def _rate(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _kept(utility: Mapping[str, Rate], protected: Mapping[str, Rate]) -> str:
    return f"{100 * utility['benign'].value:.1f} / {100 * protected['prohibited'].value:.1f}"


if __name__ == "__main__":
    main()
