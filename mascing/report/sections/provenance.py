"""The origin of every number: model, data, stages and their manifests, masks, seeds, versions and timings."""

from mascing.conversations.splits import SPLITS
from mascing.report.figures.figure import Table
from mascing.report.looks import in_order
from mascing.report.run_evidence import Evidence
from mascing.report.wording import plain, set_order, set_title
from mascing.schemas.facts import RouterFacts


def provenance_tables(evidence: Evidence) -> list[Table]:
    """Return what the run worked on: model, data and what was left out of it; without empty tables."""
    return _filled([_run(evidence), _data(evidence), _quarantine(evidence)])


def origin_tables(evidence: Evidence) -> list[Table]:
    """Return what stands behind the numbers: matched classes, stages, masks and versions; without empty tables."""
    return _filled([_matching(evidence), _stages(evidence), _masks(evidence), _versions(evidence)])


def _filled(tables: list[Table]) -> list[Table]:
    return [table for table in tables if table.rows]


def _run(evidence: Evidence) -> Table:
    config = evidence.config
    spec = evidence.stages.harvest.facts.spec if evidence.stages.harvest else None
    rows = [
        ("Model", evidence.result.model),
        ("Model path", config.model.path),
        ("Revision", plain(config.model.revision)),
        ("Checkpoint", plain(evidence.card.get("data", {}).get("checkpoint"))),
        ("Config and router weights", spec.fingerprint if spec else ""),
        ("Routers", _routers(spec) if spec else ""),
        ("Behaviour", config.behaviour.name),
        ("Conversations", config.behaviour.origin),
        ("Seed", str(config.seed)),
        ("Published mask", plain(evidence.card.get("mask_digest"))),
    ]
    return Table("Run", ("What", "Value"), tuple(row for row in rows if row[1] not in ("", "–")))


def _routers(spec: RouterFacts) -> str:
    return (
        f"{spec.family}: {len(spec.layer_ids)} MoE layers of {spec.n_experts} experts, "
        f"{spec.top_k} per token, {spec.scoring}"
    )


def _data(evidence: Evidence) -> Table:
    sets = evidence.stages.prepare.facts.sets if evidence.stages.prepare else {}
    names = sorted({name for counts in sets.values() for name in counts}, key=set_order)
    rows = [(split, *(str(sets[split].get(name, 0)) for name in names)) for split in SPLITS if split in sets]
    return Table("Conversations by split and set", ("Split", *(set_title(name) for name in names)), tuple(rows))


def _matching(evidence: Evidence) -> Table:
    matching = evidence.stages.label.facts.matching if evidence.stages.label else {}
    rows = [
        (split, str(counts.positive), str(counts.negative), str(counts.pairs), str(counts.unmatched))
        for split, counts in matching.items()
    ]
    columns = ("Split", "Positive", "Negative", "Pairs", "Left out of the contrast")
    return Table("Classes matched on form and topic", columns, tuple(rows))


def _quarantine(evidence: Evidence) -> Table:
    rows = sorted(evidence.quarantined.items(), key=lambda item: (-item[1], item[0]))
    return Table(
        "Quarantined conversations", ("Reason", "Conversations"), tuple((reason, str(count)) for reason, count in rows)
    )


def _stages(evidence: Evidence) -> Table:
    timings, manifests = evidence.result.timings, evidence.stages.by_name
    rows = []
    for stage in [*manifests, *(name for name in timings if name not in manifests)]:
        seconds = f"{timings[stage]:.1f}" if stage in timings else "–"
        manifest = manifests.get(stage)
        if manifest is None:
            rows.append((stage, seconds, "–", "–", "–", "–"))
        else:
            counts = (str(manifest.rows_in), str(manifest.rows_quarantined), str(len(manifest.shards)))
            rows.append((stage, seconds, *counts, manifest.prefix))
    columns = ("Stage", "Seconds", "Rows in", "Quarantined", "Shards", "Manifest under")
    return Table("Stages", columns, tuple(rows))


def _masks(evidence: Evidence) -> Table:
    maps = [evidence.maps[name] for name in in_order(evidence.maps)]
    rows = tuple((mask.method, mask.rule, str(mask.entries), mask.digest) for mask in maps)
    return Table("Masks", ("Method", "Rule", "Entries", "SHA-256 of its content"), rows)


def _versions(evidence: Evidence) -> Table:
    return Table("Versions", ("Package", "Version"), tuple(sorted(evidence.result.versions.items())))
