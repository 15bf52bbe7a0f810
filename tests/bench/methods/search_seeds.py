"""How the methods scatter over search seeds: each seed's best cell on dev, judged on test.

    OMP_NUM_THREADS=1 python -m tests.bench.methods.search_seeds testbeds/seed-0 --methods mascing consensus steermoe

takes testbed folders, configuration files (`run.yaml`) and storage folders of finished runs. It labels and harvests
once for each, trains and searches once for each method and search seed, and prints tables in markdown. What is done is
kept under ``--storage`` and not done again. A search of `mascing` has one surrogate, as published; `consensus` and
`active` have their ensembles. The forced margin chooses the quarter of a grid that is judged on dev, as in a run.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from mascing.circuits.methods import METHODS
from mascing.config import load_config
from mascing.evidence.results import CellScore
from mascing.masks.candidates import Candidate
from mascing.masks.precision import circuit_precision
from mascing.models.loading import Loaded
from mascing.report.wording import percent
from mascing.runs.finished_run import read_inputs
from mascing.runs.readers import candidates_of, conversations_of, truth_from
from mascing.runs.run_folder import find_run
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.finished import Harvested, Labelled
from mascing.selection.choice import choose
from mascing.selection.forecast import READ
from mascing.selection.margin import contenders, forced, forced_batches, forced_rates
from mascing.selection.racing import blocks_of
from mascing.storage.object_storage import Storage
from mascing.surrogates.ensemble import member_seeds
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.train import train
from mascing.testbeds.planted.demo_config import demo_config
from mascing.testbeds.planted.levels import LEVELS
from tests.bench.methods.active import scored
from tests.tasks.here_pool import HerePool


@dataclass(frozen=True)
class Found:
    """What one search found: the best cell on dev, its rates on test, its circuit precision, and seconds of CPU."""

    method: str
    search_seed: int
    pick: Candidate
    test: CellScore
    precision: float | None
    seconds: float


@dataclass(frozen=True)
class Bench:
    """A labelled and harvested run, to search and judge in again and again."""

    config: RunConfig
    storage: Storage
    pool: HerePool
    labelled: Labelled
    harvested: Harvested

    @classmethod
    def of(cls, config: RunConfig, storage: Storage) -> "Bench":
        """Prepare, label and harvest, unless ``storage`` has it."""
        pool = HerePool()
        prepared = prepare(storage, config).manifest
        labelled = label(storage, config, prepared, pool=pool).manifest
        return cls(config, storage, pool, labelled, harvest(storage, config, labelled, pool=pool).manifest)

    def candidates(self, method: str, search_seed: int) -> list[Candidate]:
        """The grid of one search. The first search seed is the seed of the configuration."""
        settings = getattr(self.config.methods, method) or METHODS[method].config()
        others = {name: None for name in METHODS if name != method}
        if "search_seeds" in type(settings).model_fields:
            settings = settings.model_copy(update={"search_seeds": 1})
        members = 1 if METHODS[method].per_member else self.config.surrogate.members
        config = self.config.model_copy(
            update={
                "methods": self.config.methods.model_copy(update={**others, method: settings}),
                "surrogate": self.config.surrogate.model_copy(update={"members": members}),
                "seed": member_seeds(self.config.seed, search_seed + 1)[search_seed],
            }
        )
        trained = train(self.storage, config, self.labelled, self.harvested, pool=self.pool).manifest
        optimised = optimise(self.storage, config, self.labelled, self.harvested, trained, pool=self.pool).manifest
        return candidates_of(self.storage, optimised)

    @property
    def loaded(self) -> Loaded:
        """The model, loaded once."""
        return self.pool.worker.model(self.config.model)

    @property
    def truth(self) -> Tensor | None:
        """The known circuit [L, E], None if there is none."""
        path = self.config.behaviour.truth
        return truth_from(Path(path).read_bytes(), path) if path else None


class Judge:
    """Picks on dev and judges picks on test."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._config = bench, bench.config
        dev, self._test = (conversations_of(bench.storage, bench.labelled, split) for split in ("dev", "test"))
        self._dev = dev
        [sample, *_] = blocks_of(dev, (READ,), bench.config.seed)
        self._batches = forced_batches(bench.loaded, sample, bench.config.generation.batch_size)
        self._unsteered = forced(bench.loaded, self._batches, None)
        self._dev_baseline = self._score(dev, None)

    def baseline(self) -> CellScore:
        """The unsteered model on test."""
        return self._score(self._test, None)

    def found(self, method: str, search_seed: int) -> Found:
        """Search, pick and judge."""
        started = time.process_time()
        candidates = self._bench.candidates(method, search_seed)
        seconds = time.process_time() - started
        rates = [
            forced_rates(self._unsteered, forced(self._bench.loaded, self._batches, candidate.mask))
            for candidate in candidates
        ]
        entrants = [candidates[number] for number in contenders(rates, self._config.selection.keep)]
        scores = [self._score(self._dev, candidate) for candidate in entrants]
        pick = entrants[choose(self._dev_baseline, scores, self._config.gates)]
        truth_LE = self._bench.truth
        precision = None if truth_LE is None else circuit_precision(pick.mask, truth_LE)
        return Found(method, search_seed, pick, self._score(self._test, pick), precision, seconds)

    def _score(self, conversations: Sequence[Conversation], candidate: Candidate | None) -> CellScore:
        return scored(self._bench.loaded, self._config, conversations, candidate)


def per_search(found: Sequence[Found]) -> Iterator[str]:
    """The lines of a table of all searches."""
    yield "| method | search seed | cell | entries | target | utility | protected | precision | CPU s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in found:
        cell = ", ".join(f"{name} {value}" for name, value in one.pick.cell.items())
        yield (
            f"| `{one.method}` | {one.search_seed} | {cell} | {one.pick.mask.entries} | "
            f"{percent(one.test.target_rate)} | {_worst(one.test.utility)} | {_worst(one.test.protected)} | "
            f"{_number(one.precision)} | {one.seconds:.0f} |"
        )


def per_method(found: Sequence[Found], baseline: CellScore) -> Iterator[str]:
    """The lines of a table of all methods: mean (least to most) over the search seeds."""
    yield "| method | searches | target | utility | protected | precision |"
    yield "|---|---|---|---|---|---|"
    yield (
        f"| unsteered | – | {percent(baseline.target_rate)} | {_worst(baseline.utility)} | "
        f"{_worst(baseline.protected)} | – |"
    )
    for method in dict.fromkeys(one.method for one in found):
        ours = [one for one in found if one.method == method]
        target = _spread([one.test.target_rate for one in ours], percent)
        utility = _spread([min(one.test.utility.values(), default=1.0) for one in ours], percent)
        protected = _spread([min(one.test.protected.values(), default=1.0) for one in ours], percent)
        precisions = [one.precision for one in ours if one.precision is not None]
        precision = _spread(precisions, _number) if precisions else "–"
        yield f"| `{method}` | {len(ours)} | {target} | {utility} | {protected} | {precision} |"


def _worst(rates: Mapping[str, float]) -> str:
    return percent(min(rates.values())) if rates else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    if len(values) == 1:
        return show(values[0])
    return f"{show(fmean(values))} ({show(min(values))} to {show(max(values))})"


def config_of(place: Path, behaviour: str, level: int) -> RunConfig:
    """The configuration of a testbed folder, of a configuration file, or of the latest run in a storage folder."""
    if place.is_file():
        return load_config(str(place))
    if (place / "config.json").exists():
        return demo_config(behaviour, 0, str(place), level)
    storage = Storage.open(str(place))
    return read_inputs(storage, find_run(storage).folder).run_config


def main() -> None:
    """Read the command line, measure, and print the tables of each place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", type=Path, help="testbed folders, run.yaml files or storage folders")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5, help="search seeds of each method; `steermoe` has one")
    parser.add_argument("--behaviour", default="jailbreak-defence", help="of testbed folders")
    parser.add_argument("--level", type=int, default=1, choices=sorted(LEVELS), help="of testbed folders")
    parser.add_argument("--storage", default="search-seeds", help="where the stages' outputs are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for place in arguments.places:
        config = config_of(place, arguments.behaviour, arguments.level)
        judge = Judge(Bench.of(config, Storage.open(arguments.storage)))
        searches = {method: 1 if method == "steermoe" else arguments.seeds for method in arguments.methods}
        find = partial(_told, judge)
        found = [find(method, seed) for method, n in searches.items() for seed in range(n)]
        print(f"\n{place}, {config.behaviour.name}\n")
        print("\n".join([*per_method(found, judge.baseline()), "", *per_search(found)]), flush=True)


def _told(judge: Judge, method: str, search_seed: int) -> Found:
    """One search, with a line as it is done."""
    found = judge.found(method, search_seed)
    print(f"{method}, search seed {search_seed}: target {percent(found.test.target_rate)}", flush=True)
    return found


if __name__ == "__main__":
    main()
