"""SteerMoE's tables of activations: how often each expert was selected with a behaviour and without it.

Published as pickles of a pandas frame with the columns ``layer``, ``expert``, ``a1``, ``d1`` (tokens with the behaviour
that selected the expert, and that did not), ``a2``, ``d2`` (without it) and ``risk_diff``; or the same as CSV. Which
experts it steers is said beside it, by two numbers.
"""

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from mascing.conversations.intake.opening import encoding_of
from mascing.errors import MaskError
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import ExpertList
from mascing.masks.foreign.frame_pickle import columns_of
from mascing.schemas.cards.listed_mask import ListedModel

COLUMNS = ("layer", "expert", "a1", "d1", "a2", "d2")
Table = Mapping[str, np.ndarray[Any, Any]]


def is_table(data: bytes) -> bool:
    """Whether the bytes are a pickle, or CSV with the columns."""
    return _is_pickle(data) or set(COLUMNS) <= set(_text(data[:1000]).partition("\n")[0].strip().split(","))


def read(data: bytes, choice: Choice) -> ExpertList:
    """The experts that SteerMoE's code steers with these numbers: the strongest risk differences of either sign.

    A layer with more than top-k of the activated keeps the strongest. Raises MaskError for another table, or if it has
    fewer experts of a sign than chosen.
    """
    if choice.n_activated == choice.n_deactivated == 0:
        raise MaskError(
            "the table ranks all experts and chooses none: give --n-activated, --n-deactivated, or both, as published "
            "beside it (num_experts.jsonl)"
        )
    table = table_of(data)
    difference = risk_difference(table) * (-1 if choice.reverse else 1)
    order = np.argsort(-np.abs(difference), kind="stable")
    on = order[difference[order] > 0][: choice.n_activated]
    off = order[difference[order] < 0][: choice.n_deactivated]
    for name, chosen, wanted in (("positive", on, choice.n_activated), ("negative", off, choice.n_deactivated)):
        if len(chosen) < wanted:
            raise MaskError(f"only {len(chosen)} experts have a {name} risk difference: {wanted} were asked for")
    places = list(zip(table["layer"].astype(int).tolist(), table["expert"].astype(int).tolist(), strict=True))
    forced = dict.fromkeys(on.tolist(), 1.0) | dict.fromkeys(off.tolist(), -1.0)
    return ExpertList(
        rule="override",
        values={place: forced.get(row, 0.0) for row, place in enumerate(places)},
        priority=dict(zip(places, difference.tolist(), strict=True)),
        model=_model(table),
        strongest_stay=True,
        facts={
            "score": "risk_difference",
            "n_activated": choice.n_activated,
            "n_deactivated": choice.n_deactivated,
            "reversed": choice.reverse,
        },
    )


def table_of(data: bytes) -> Table:
    """The columns of the table, with every expert once. Raises MaskError for another table."""
    table = columns_of(data) if _is_pickle(data) else _csv(data)
    if missing := [name for name in COLUMNS if name not in table]:
        raise MaskError(f"the table has no column {missing[0]!r}: a table of activations has {', '.join(COLUMNS)}")
    try:
        table = {name: column.astype(float) for name, column in table.items() if name in (*COLUMNS, "risk_diff")}
    except (TypeError, ValueError) as error:
        raise MaskError(f"the table holds what is no number: {error}") from error
    counts = np.stack([table[name] for name in COLUMNS])
    if not (np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))).all():
        raise MaskError("layers, experts and counts of activations are whole numbers from 0")
    if len(set(zip(table["layer"], table["expert"], strict=True))) < len(table["layer"]):
        raise MaskError("an expert stands in the table twice")
    return table


def risk_difference(table: Table) -> np.ndarray[Any, Any]:
    """``a1 / (a1 + d1) - a2 / (a2 + d2)``, float64 by row. Raises MaskError if the table's own column differs."""
    tokens = [table["a1"] + table["d1"], table["a2"] + table["d2"]]
    if not all((each > 0).all() for each in tokens):
        raise MaskError("the table has experts without tokens: a1 + d1 and a2 + d2 are all tokens of a side")
    difference: np.ndarray[Any, Any] = table["a1"] / tokens[0] - table["a2"] / tokens[1]
    if "risk_diff" in table and not np.allclose(table["risk_diff"], difference, rtol=0, atol=1e-9):
        worst = int(np.abs(table["risk_diff"] - difference).argmax())
        raise MaskError(
            f"risk_diff of layer {table['layer'][worst]:g}, expert {table['expert'][worst]:g} is "
            f"{table['risk_diff'][worst]:g}, but its counts make {difference[worst]:g}: the table is damaged"
        )
    return difference


def _model(table: Table) -> ListedModel:
    """What the counts show of the model: its experts, and how many a token selects."""
    layers, n_experts = len(set(table["layer"])), len(set(table["expert"]))
    if len(table["layer"]) != layers * n_experts:
        raise MaskError(f"the table has {len(table['layer'])} rows, not one for each of {n_experts} experts in a layer")
    per_token = (table["a1"] / (table["a1"] + table["d1"])).sum() / layers
    if abs(per_token - round(per_token)) > 1e-6:
        raise MaskError(f"the table counts {per_token:.4g} selections per token, which is no whole number of experts")
    return ListedModel(n_experts=n_experts, top_k=round(per_token), n_layers=layers)


def _is_pickle(data: bytes) -> bool:
    return data[:1] == b"\x80"


def _text(data: bytes) -> str:
    return data.decode(encoding_of(data), errors="replace")


def _csv(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    try:
        rows = list(csv.DictReader(io.StringIO(_text(data))))
    except csv.Error as error:
        raise MaskError(f"the table cannot be read as CSV: {error}") from error
    if not rows:
        raise MaskError("the table has no rows")
    return {name: np.array([row[name] for row in rows]) for name in rows[0] if name}
