"""The last step of a run: the files in its folder, its report page, and the index of all runs."""

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from mascing.engines.installed import versions
from mascing.evidence.corrections import with_corrections
from mascing.evidence.gates import gate_text
from mascing.evidence.overlap import overlap
from mascing.evidence.results import baseline_of, changes_by_set
from mascing.evidence.sufficiency import lacking
from mascing.judges.calibrations.calibration import calibration_of
from mascing.judges.judge import summed
from mascing.masks.candidates import Candidate
from mascing.models.checkpoint_names import named_checkpoint
from mascing.models.checkpoints import model_name
from mascing.progress import Event, tell
from mascing.report import build_index, build_report
from mascing.report.looks import in_order
from mascing.runs import registry
from mascing.runs.finished_run import RunInputs, write_record
from mascing.runs.readers import candidates_of, dev_verdicts_of, selected_of, unsteered_of
from mascing.runs.run_folder import RunFolder, run_folder
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import JudgingFacts, SelectFacts
from mascing.schemas.finished import Labelled, Optimised, RunStages, Selected
from mascing.schemas.result import HeldChannel, MaskAgreement, Overlap, Rate, Result, SeedScatter, SingleExpert, Trust
from mascing.selection.seed_scatter import seed_scatter
from mascing.storage.object_storage import Storage
from mascing.tasks.concluding.kept_config import keep_config
from mascing.tasks.concluding.missing import remedies
from mascing.tasks.concluding.unproven_mask import keep_unproven
from mascing.topics.doubts import topic_checks

Row = Mapping[str, Any]
"""A row of the VERDICTS table (schemas/tables.py)."""

DevVerdicts = Mapping[str, Mapping[int, Sequence[Row]]]
"""The verdicts on dev by method, then by the number of the cell."""

_PACKAGES = ("mascing", "torch", "transformers", "ray", "prefect", "pyarrow")


def conclude(storage: Storage, config: RunConfig, stages: RunStages, seconds: Mapping[str, float]) -> RunFolder:
    """Write the files of a run that people read into its folder; returns the folder.

    ``seconds`` is the time that each stage took in this run. Equal runs have one folder and write equal files, except
    for the timings, and for what the channel holds if other runs moved it.
    """
    tell(Event("report", "started"))
    folder = folder_of(config, stages)
    result = _result(storage, config, stages, seconds, folder)
    inputs = RunInputs(run_config=config, stages=_prefixes(stages))
    keep_config(storage, folder, config)
    write_record(storage, folder.inputs, inputs)
    write_record(storage, folder.result, result)
    build_report(storage, folder.name)
    build_index(storage)
    tell(Event("report", "written"))
    return folder


def folder_of(config: RunConfig, stages: RunStages) -> RunFolder:
    """The folder of the run; its last stage stands on all others, so that stage's fingerprint is the run's."""
    last = stages.publish or stages.label
    if last is None:
        raise ValueError("a run has no folder before its stage label is finished")
    return run_folder(config.behaviour.name, model_name(config.model), last.fingerprint)


def _prefixes(stages: RunStages) -> dict[str, str]:
    prefixes = {stage: manifest.prefix for stage, manifest in stages.by_name.items()}
    if stages.publish and stages.publish.facts.masks:
        prefixes["masks"] = stages.publish.facts.masks
    return prefixes


def _result(
    storage: Storage, config: RunConfig, stages: RunStages, seconds: Mapping[str, float], folder: RunFolder
) -> Result:
    """The result of a run; one that ended after its label stage has no methods, and says why."""
    if stages.prepare is None or stages.label is None:
        raise ValueError("a run has no result before its stages prepare and label are finished")
    labels, gated = stages.label.facts, stages.gate.facts if stages.gate else None
    published = stages.publish.facts if stages.publish else None
    checkpoint = named_checkpoint(config.model, labels.checkpoint)
    channel = registry.current(storage, checkpoint, config.behaviour.name)
    result = Result(
        model=checkpoint.name,
        checkpoint=checkpoint.label,
        behaviour=config.behaviour.name,
        splits=stages.prepare.facts.splits,
        baseline=gated.baseline if gated else baseline_of(list(unsteered_of(storage, stages.label, "test").values())),
        methods={name: gated.methods[name] for name in in_order(gated.methods)} if gated else {},
        first_on_dev=gated.first_on_dev if gated else None,
        published=published.winner if published else None,
        mask=published.masks if published else None,
        unproven=keep_unproven(storage, config, stages, folder),
        remedies=remedies(storage, config, stages),
        channel=HeldChannel(address=channel.address, mask=channel.mask) if channel else None,
        labels=labels.sets,
        agreement=labels.agreement,
        lacking=() if gated else lacking(labels, config),
        trust=_trust(storage, config, stages.label, stages.optimise, stages.select)
        if stages.optimise and stages.select
        else None,
        topic=topic_checks(stages.train.facts) if stages.train else {},
        judging_cost=summed(_judging_costs(stages)),
        timings={stage: round(spent, 3) for stage, spent in seconds.items()},
        engine=config.engine.kind,
        versions={"python": platform.python_version(), **versions(_PACKAGES, config.engine)},
    )
    return with_corrections(result, lambda name: calibration_of(config.behaviour.judge_of(name)))


def _judging_costs(stages: RunStages) -> Iterator[float | None]:
    facts = (manifest.facts for manifest in stages.by_name.values())
    return (of_stage.judging_cost for of_stage in facts if isinstance(of_stage, JudgingFacts))


def _trust(storage: Storage, config: RunConfig, labelled: Labelled, optimised: Optimised, selected: Selected) -> Trust:
    """What the run's own data say about its methods; the control is none."""
    facts = selected.facts
    verdicts = dev_verdicts_of(storage, selected) if facts.scatter or facts.sparsified else {}
    unsteered = unsteered_of(storage, labelled, "dev") if verdicts else {}
    return Trust(
        seeds=_seeds(config, facts, verdicts, unsteered),
        agreement=_agreement(candidates_of(storage, optimised), selected_of(storage, selected), facts),
        single=_single(facts, verdicts, unsteered),
    )


def _seeds(
    config: RunConfig, facts: SelectFacts, verdicts: DevVerdicts, unsteered: Mapping[str, Row]
) -> dict[str, SeedScatter]:
    judged = {
        name: found for name, picks in facts.scatter.items() if (found := [pick for pick in picks if pick.judged])
    }
    return {
        name: seed_scatter(judged[name], verdicts[name], unsteered, config.gates, _seed_of_pick(facts, name))
        for name in in_order(judged)
    }


def _seed_of_pick(facts: SelectFacts, method: str) -> int | None:
    """The search seed that found the method's pick."""
    cells = [row.cell for row in facts.cells if row.method == method]
    seed = cells[facts.picked[method]].get("search_seed")
    return seed if isinstance(seed, int) else None


def _single(
    facts: SelectFacts, verdicts: DevVerdicts, unsteered: Mapping[str, Row]
) -> dict[str, tuple[SingleExpert, ...]]:
    """What single experts keep of each pick's effect; nothing of a pick that does not certainly raise the rate."""
    single: dict[str, tuple[SingleExpert, ...]] = {}
    for name in in_order(facts.sparsified):
        after = verdicts[name][facts.picked[name]]
        before = [unsteered[row["conversation_id"]] for row in after]
        if changes_by_set(before, after)["target"].low <= 0:
            single[name] = ()
        elif found := facts.sparsified[name].single:
            single[name] = found
    return single


def _agreement(
    candidates: Iterable[Candidate], pruned: Mapping[str, Candidate], facts: SelectFacts
) -> tuple[MaskAgreement, ...]:
    cells: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        cells[candidate.method].append(candidate)
    full = {name: cells[name][cell] for name, cell in facts.picked.items()}
    return tuple(
        MaskAgreement(
            methods=(a, b),
            full=_overlap(full[a], full[b]),
            pruned=_overlap(pruned[a], pruned[b]) if facts.sparsified else None,
        )
        for a, b in combinations(in_order(full), 2)
    )


def _overlap(a: Candidate, b: Candidate) -> Overlap:
    return overlap(a.mask.rule.signed_LE, b.mask.rule.signed_LE)


def results_table(result: Result) -> str:
    """The run's result as a markdown table."""
    sets = [*(f"utility/{name}" for name in result.baseline.utility)]
    sets += [f"protected/{name}" for name in result.baseline.protected]
    rows = [["method", "target", "uplift", *sets, "gate"], ["---"] * (4 + len(sets))]
    rates = [*result.baseline.utility.values(), *result.baseline.protected.values()]
    rows.append(["baseline", _percent(result.baseline.target_rate), "", *map(_percent, rates), ""])
    for name, method in result.methods.items():
        rates = [*method.utility.values(), *method.protected.values()]
        rows.append(
            [
                name,
                _percent(method.target_rate),
                _percent(method.uplift),
                *map(_percent, rates),
                gate_text(method.gate, method.reasons),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
