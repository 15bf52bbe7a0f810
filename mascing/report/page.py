"""Render the page: fill its template with all parts of the evidence."""

from collections.abc import Mapping
from typing import Any

import yaml

from mascing.evidence.explanation import missed_by, missed_by_all
from mascing.report.figures.changed_conditions import robustness_figure
from mascing.report.figures.figure import Figure
from mascing.report.figures.grids import GridCell, cells_table, grid_cells, grid_figures, picks_table
from mascing.report.figures.maps import map_figures
from mascing.report.figures.rates import rate_figures
from mascing.report.figures.roc import roc_figure
from mascing.report.figures.surrogate_quality import auc_figure, calibration_figure, doubts, surrogates_table
from mascing.report.figures.tradeoff import tradeoff_figures
from mascing.report.filling import filled
from mascing.report.looks import in_order
from mascing.report.run_evidence import Evidence
from mascing.report.sections.changes import paired_changes
from mascing.report.sections.comparison import comparison_table
from mascing.report.sections.degenerate import degenerate_table
from mascing.report.sections.gaps import gaps
from mascing.report.sections.gate_table import gate_table
from mascing.report.sections.headline import headline, shown_method
from mascing.report.sections.labels import agreement_sentence, contrast_table, draw_own_replies, replies_table
from mascing.report.sections.provenance import origin_tables, provenance_tables
from mascing.report.sections.samples import draw_samples, movement_table
from mascing.report.sections.significance import significance_table
from mascing.report.sections.summary import summary
from mascing.report.sections.trust import trust_section
from mascing.report.wording import cell_text
from mascing.schemas.result import Rate, Result

# Anchor, title in the list of sections, and the template variable without which the section is left out.
_SECTIONS = (
    ("evidence", "Methods", "comparison"),
    ("tradeoff", "Utility against uplift", "tradeoffs"),
    ("gates", "Gates", "methods"),
    ("robustness", "Robustness", "robustness"),
    ("trust", "What to trust", "trust"),
    ("masks", "Masks", "maps"),
    ("grids", "Dev search", "grids"),
    ("surrogates", "Surrogates", "surrogates"),
    ("labels", "Labels", "labels"),
    ("replies", "Replies", "samples"),
    ("provenance", "Provenance", "provenance"),
)


def render(evidence: Evidence) -> str:
    """Render the page as HTML; equal evidence gives equal text."""
    parts = _parts(evidence)
    sections = [(anchor, title) for anchor, title, part in _SECTIONS if parts[part]]
    return filled("page.html.jinja", sections=sections, **parts)


def _parts(evidence: Evidence) -> dict[str, Any]:
    """Return the variables of the template."""
    changes = paired_changes(evidence.replies)
    return {
        **_conclusion(evidence, changes),
        **_labels(evidence),
        **_robustness(evidence),
        **_search(evidence),
        **_replies(evidence),
        **_origin(evidence),
    }


def _conclusion(evidence: Evidence, changes: Mapping[str, Mapping[str, Rate]]) -> dict[str, Any]:
    """Return the headline, the comparison of methods on the test split, and the gates."""
    result, gates, gated = evidence.result, evidence.config.gates, evidence.stages.gate
    return {
        "result": result,
        "headline": headline(result),
        "summary": summary(evidence, changes),
        "comparison": comparison_table(result, changes) if result.methods else None,
        "rates": rate_figures(result),
        "significance": significance_table(gated.facts.comparisons if gated else ()),
        "tradeoffs": tradeoff_figures(result, changes, gates),
        "gates": gates,
        "gate_table": gate_table(result),
        "degenerate": degenerate_table(result),
        "methods": [
            (name, result.methods[name], cell_text(result.methods[name].selected), _remedies(result, name))
            for name in in_order(result.methods)
        ],
        "missed": missed_by_all(result) if result.published is None else [],
    }


def _remedies(result: Result, method: str) -> dict[str, tuple[str, ...]]:
    """Return what would change each gate that a method missed, by the reason of the gate."""
    return {gate.reason: gate.remedies for gate in missed_by(result, method)}


def _labels(evidence: Evidence) -> dict[str, Any]:
    """Return what the model's own replies were, with samples if no later part of the page shows replies."""
    facts = evidence.stages.label.facts if evidence.stages.label else None
    samples = draw_own_replies(evidence.unsteered, evidence.conversations) if not evidence.replies else ()
    return {
        "labels": [replies_table(facts), contrast_table(facts)] if facts else [],
        "agreement": agreement_sentence(facts) if facts else "",
        "own_replies": samples,
    }


def _robustness(evidence: Evidence) -> dict[str, Any]:
    """Return the results under changed conditions."""
    stages, config = evidence.stages, evidence.config
    changes = stages.gate.facts.robustness if stages.gate else {}
    least = config.robustness.uplift_share * config.gates.min_uplift
    return {
        "robustness": robustness_figure(evidence.result, changes, least),
        "left_out": stages.robustness.facts.left_out if stages.robustness else {},
    }


def _search(evidence: Evidence) -> dict[str, Any]:
    """Return how far to trust the methods, the masks, the grids they were selected from, and the surrogates."""
    stages, result = evidence.stages, evidence.result
    first = result.published or result.first_on_dev
    selected = stages.select.facts if stages.select else None
    cells = grid_cells(selected) if selected else []
    trained = stages.train.facts if stages.train else None
    cards = trained.cards if trained else {}
    return {
        "maps": _maps(evidence),
        "has_truth": evidence.truth is not None,
        "trust": trust_section(result.trust, trained, selected.baseline, first, result.methods) if selected else None,
        "grids": _grids(cells, selected.baseline.by_set) if selected else {},
        "picks": picks_table(cells),
        "cells": cells_table(cells),
        "surrogates": [roc_figure(cards), auc_figure(cards), calibration_figure(cards)] if cards else [],
        "surrogate_numbers": surrogates_table(cards),
        "doubts": doubts(cards),
    }


def _replies(evidence: Evidence) -> dict[str, Any]:
    """Return how the masks changed replies, with samples of the shown method."""
    shown = shown_method(evidence.result)
    before, after = (evidence.replies.get(name, {}) for name in ("baseline", shown or ""))
    return {
        "shown": shown,
        "samples": draw_samples(before, after, evidence.conversations),
        "movement": movement_table(evidence.replies),
        "shown_movement": movement_table({"baseline": before, shown: after}) if shown else None,
    }


def _origin(evidence: Evidence) -> dict[str, Any]:
    """Return the provenance tables, the configuration, and the gaps of the page."""
    config = evidence.config.model_dump(mode="json")
    return {
        "written": evidence.written,
        "again": evidence.again,
        "provenance": provenance_tables(evidence),
        "origins": origin_tables(evidence),
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=None),
        "missing": gaps(evidence),
    }


def _grids(cells: list[GridCell], baseline: Mapping[str, float]) -> dict[str, dict[str, list[Figure]]]:
    """Return the grids of each method, by their titles."""
    methods = in_order({cell.method for cell in cells})
    found = {name: grid_figures([cell for cell in cells if cell.method == name], baseline) for name in methods}
    return {name: grids for name, grids in found.items() if grids}


def _maps(evidence: Evidence) -> list[Figure]:
    if not evidence.maps:
        return []
    precision = {name: method.circuit_precision for name, method in evidence.result.methods.items()}
    return map_figures(evidence.maps, evidence.truth, precision, evidence.layer_ids, evidence.attribution)
