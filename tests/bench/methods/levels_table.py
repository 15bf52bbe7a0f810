"""The tables of docs/testbeds.md, from the stored runs of `mascing demo` on one storage URL a testbed.

    python -m tests.bench.methods.levels_table runs/L2s0 runs/L2s1 ...

Prints a row of rates for each run, then what the runs say of surrogates, the plain risk difference, search seeds
and the cost of selection.
"""

import argparse
from pathlib import Path

from safetensors.torch import load_file

from mascing.circuits.control import NAME as CONTROL
from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.masks.precision import map_precision
from mascing.runs.finished_run import read_inputs, read_result, stages_at
from mascing.runs.readers import traces_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.result import Baseline, MethodResult, Result
from mascing.storage.object_storage import Storage


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path, nargs="+", help="storage folders of demos")
    runs = [path.parent for folder in parser.parse_args().storage for path in sorted(folder.glob("runs/*/result.json"))]
    results = [read_result(*_opened(run)) for run in runs]
    methods = list(results[0].methods)
    print(f"| testbed | behaviour | unsteered | {' | '.join(methods)} |\n|{'---|' * (3 + len(methods))}")
    for result in results:
        cells = [_rates(result.baseline), *(_cell(result.methods[method]) for method in methods)]
        print(f"| {_name(result)} | {result.behaviour} | {' | '.join(cells)} |")
    print(
        "\n| testbed | behaviour | AUC on dev | risk difference | selection | α of the picks | "
        "seeds that find something |"
    )
    print("|---|---|---|---|---|---|---|")
    for run in runs:
        _print_run(*_opened(run))


def _opened(run: Path) -> tuple[Storage, RunFolder]:
    return Storage.open(str(run.parent.parent)), RunFolder(run.name)


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
    strengths = [
        f"{method} {row.selected['alpha']}"
        for method, row in result.methods.items()
        if "alpha" in row.selected and method != CONTROL
    ]
    seeds = [
        f"{method} {sum(seed.moves and seed.within_noise for seed in row.seeds)} of {len(row.seeds)}"
        for method, row in result.trust.seeds.items()
    ]
    print(
        f"| {_name(result)} | {result.behaviour} | {auc:.3f} | {precision:.2f} | "
        f"{100 * cost.share:.0f}% of {cost.replies_of_full_grid:,} | {', '.join(strengths)} | {', '.join(seeds)} |",
        flush=True,
    )


def _name(result: Result) -> str:
    """The testbed's family and seed."""
    return result.model.rpartition("-")[0]


def _cell(row: MethodResult) -> str:
    """Rates, circuit precision, experts and gates of a method's pick."""
    return f"{_rates(row)}; {row.circuit_precision:.2f} of {row.selected.get('kept', row.selected)}; {row.gate}"


def _rates(row: MethodResult | Baseline) -> str:
    """The target, utility and protected rates, in percent."""
    rates = (row.target_rate, row.utility["benign"], row.protected["prohibited"])
    return " / ".join(f"{100 * rate.value:.0f}" for rate in rates)


if __name__ == "__main__":
    main()
