"""The last step of a run: the files in its folder, its report page, and the index of all runs."""

import platform
from collections.abc import Mapping
from importlib import metadata

import yaml

from mascing.models.checkpoint_names import named_checkpoint
from mascing.models.checkpoints import model_name
from mascing.progress import Event, tell
from mascing.report import build_index, build_report
from mascing.report.looks import in_order
from mascing.runs import registry
from mascing.runs.finished_run import RunInputs
from mascing.runs.run_folder import RunFolder, run_folder
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Gated, Harvested, Prepared, Published, RunStages
from mascing.schemas.result import HeldChannel, Rate, Result
from mascing.storage.object_storage import Storage

_PACKAGES = ("mascing", "torch", "transformers", "ray", "prefect", "pyarrow")


def conclude(storage: Storage, config: RunConfig, stages: RunStages, seconds: Mapping[str, float]) -> RunFolder:
    """Write the files of a run that people read into its folder; returns the folder.

    ``seconds`` is the time that each stage took in this run. Equal runs have one folder and write equal files, except
    for the timings, and for what the channel holds if other runs moved it.
    """
    result, folder = _result(storage, config, stages, seconds), _folder(config, stages)
    inputs = RunInputs(run_config=config, stages=_prefixes(stages))
    storage.overwrite(folder.config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
    storage.overwrite(folder.inputs, f"{inputs.model_dump_json(indent=1)}\n".encode())
    storage.overwrite(folder.result, f"{result.model_dump_json(indent=1)}\n".encode())
    build_report(storage, folder.name)
    build_index(storage)
    tell(Event("report", "written"))
    return folder


def _folder(config: RunConfig, stages: RunStages) -> RunFolder:
    """The folder of the run; its last stage stands on all others, so that stage's fingerprint is the run's."""
    *_, publish = _finished(stages)
    return run_folder(config.behaviour.name, model_name(config.model), publish.fingerprint)


def _finished(stages: RunStages) -> tuple[Prepared, Harvested, Gated, Published]:
    prepare, harvest, gate, publish = stages.prepare, stages.harvest, stages.gate, stages.publish
    if prepare is None or harvest is None or gate is None or publish is None:
        raise ValueError("a run has no result before its stages prepare, harvest, gate and publish are finished")
    return prepare, harvest, gate, publish


def _prefixes(stages: RunStages) -> dict[str, str]:
    prefixes = {stage: manifest.prefix for stage, manifest in stages.by_name.items()}
    if stages.publish and stages.publish.facts.masks:
        prefixes["masks"] = stages.publish.facts.masks
    return prefixes


def _result(storage: Storage, config: RunConfig, stages: RunStages, seconds: Mapping[str, float]) -> Result:
    prepare, harvest, gate, publish = _finished(stages)
    checkpoint = named_checkpoint(config.model, harvest.facts.checkpoint)
    channel = registry.current(storage, checkpoint, config.behaviour.name)
    return Result(
        model=checkpoint.name,
        checkpoint=checkpoint.label,
        behaviour=config.behaviour.name,
        splits=prepare.facts.splits,
        baseline=gate.facts.baseline,
        methods={name: gate.facts.methods[name] for name in in_order(gate.facts.methods)},
        first_on_dev=gate.facts.first_on_dev,
        published=publish.facts.winner,
        mask=publish.facts.masks,
        channel=HeldChannel(address=channel.address, mask=channel.mask) if channel else None,
        timings={stage: round(spent, 3) for stage, spent in seconds.items()},
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
    )


def results_table(result: Result) -> str:
    """The run's result as a markdown table."""
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
