"""The last step of a run: `result.json`, `run.yaml`, `report/inputs.json` and the page made of them."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import yaml

from mascing.progress import Event, tell
from mascing.report import build_report
from mascing.schemas.config import RunConfig
from mascing.schemas.result import Rate, Result, SplitSizes
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.gate import baseline_from, results_from
from mascing.tasks.publish import model_name

_PACKAGES = ("mascing", "torch", "transformers", "ray", "prefect", "pyarrow")


@dataclass(frozen=True)
class Step:
    """A finished stage of a run: the prefix of its manifest, and the seconds that it took this time."""

    prefix: str
    seconds: float


def report(storage: Storage, config: RunConfig, done: Mapping[str, Step]) -> str:
    """Write what the run leaves for people; returns where the page is.

    These files are of the latest run under the storage URL, and equal for equal runs up to the timings.
    """
    manifests = {stage: read_manifest(storage, step.prefix) for stage, step in done.items()}
    sizes, gated = manifests["prepare"].facts, manifests["gate"]
    result = Result(
        model=model_name(config.model),
        behaviour=config.behaviour.name,
        splits=SplitSizes(train=sizes["train"], dev=sizes["dev"], test=sizes["test"]),
        baseline=baseline_from(gated),
        methods=results_from(gated),
        published=gated.facts["winner"],
        timings={stage: round(step.seconds, 3) for stage, step in done.items()},
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
    )
    stages = {stage: step.prefix for stage, step in done.items()}
    masks = manifests["publish"].facts["masks"]
    inputs = {"run_config": config.model_dump(mode="json"), "stages": stages | ({"masks": masks} if masks else {})}
    storage.overwrite("run.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
    storage.overwrite("report/inputs.json", f"{json.dumps(inputs, indent=1)}\n".encode())
    storage.overwrite("result.json", f"{result.model_dump_json(indent=1)}\n".encode())
    page = build_report(storage)
    tell(Event("report", "written"))
    return page


def results_table(storage: Storage) -> str:
    """The run's result as a markdown table."""
    result = Result.model_validate_json(storage.read("result.json"))
    sets = [*(f"utility/{name}" for name in result.baseline.utility)]
    sets += [f"protected/{name}" for name in result.baseline.protected]
    rows = [["method", "target", "uplift", *sets, "gate"], ["---"] * (4 + len(sets))]
    sides = [*result.baseline.utility.values(), *result.baseline.protected.values()]
    rows.append(["baseline", _shown(result.baseline.target_rate), "", *map(_shown, sides), ""])
    for name, method in result.methods.items():
        sides = [*method.utility.values(), *method.protected.values()]
        rows.append([name, _shown(method.target_rate), _shown(method.uplift), *map(_shown, sides), method.gate])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
