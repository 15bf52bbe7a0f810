"""The last step of a run: `result.json`, `run.yaml`, `report/inputs.json` and the report page."""

import platform
from collections.abc import Mapping
from importlib import metadata

import yaml

from mascing.evidence.results import baseline_of
from mascing.evidence.sufficiency import lacking
from mascing.models.checkpoints import model_name
from mascing.progress import Event, tell
from mascing.report import build_report
from mascing.report.looks import in_order
from mascing.runs.finished_run import RUN_INPUTS, RunInputs
from mascing.runs.readers import unsteered_of
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages
from mascing.schemas.result import Rate, Result
from mascing.storage.object_storage import Storage

_PACKAGES = ("mascing", "torch", "transformers", "ray", "prefect", "pyarrow")


def conclude(storage: Storage, config: RunConfig, stages: RunStages, seconds: Mapping[str, float]) -> str:
    """Write the files of a run that people read; returns the location of the report page.

    ``seconds`` is the time that each stage took in this run. The files describe the latest run under the storage URL.
    Equal runs write equal files, except for the timings.
    """
    inputs = RunInputs(run_config=config, stages=_prefixes(stages))
    storage.overwrite("run.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
    storage.overwrite(RUN_INPUTS, f"{inputs.model_dump_json(indent=1)}\n".encode())
    result = _result(storage, config, stages, seconds)
    storage.overwrite("result.json", f"{result.model_dump_json(indent=1)}\n".encode())
    page = build_report(storage)
    tell(Event("report", "written"))
    return page


def _prefixes(stages: RunStages) -> dict[str, str]:
    prefixes = {stage: manifest.prefix for stage, manifest in stages.by_name.items()}
    if stages.publish and stages.publish.facts.masks:
        prefixes["masks"] = stages.publish.facts.masks
    return prefixes


def _result(storage: Storage, config: RunConfig, stages: RunStages, seconds: Mapping[str, float]) -> Result:
    """The result of a run; one that ended after its label stage has no methods, and says why."""
    if stages.prepare is None or stages.label is None:
        raise ValueError("a run has no result before its stages prepare and label are finished")
    labels, gated = stages.label.facts, stages.gate.facts if stages.gate else None
    unsteered = list(unsteered_of(storage, stages.label, "test").values())
    return Result(
        model=model_name(config.model),
        behaviour=config.behaviour.name,
        splits=stages.prepare.facts.splits,
        baseline=gated.baseline if gated else baseline_of(unsteered),
        methods={name: gated.methods[name] for name in in_order(gated.methods)} if gated else {},
        published=gated.winner if gated else None,
        labels=labels.sets,
        agreement=labels.agreement,
        lacking=() if gated else lacking(labels, config),
        timings={stage: round(spent, 3) for stage, spent in seconds.items()},
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
    )


def results_table(storage: Storage) -> str:
    """The run's result as a markdown table."""
    result = Result.model_validate_json(storage.read("result.json"))
    sets = [*(f"utility/{name}" for name in result.baseline.utility)]
    sets += [f"protected/{name}" for name in result.baseline.protected]
    rows = [["method", "target", "uplift", *sets, "gate"], ["---"] * (4 + len(sets))]
    rates = [*result.baseline.utility.values(), *result.baseline.protected.values()]
    rows.append(["baseline", _percent(result.baseline.target_rate), "", *map(_percent, rates), ""])
    for name, method in result.methods.items():
        rates = [*method.utility.values(), *method.protected.values()]
        rows.append([name, _percent(method.target_rate), _percent(method.uplift), *map(_percent, rates), method.gate])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
