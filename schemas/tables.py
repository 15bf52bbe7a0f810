"""The pyarrow schema of every Parquet table that crosses a stage boundary."""

import pyarrow as pa

from mascing.schemas.trace_layout import TraceLayout

CONVERSATIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("contrast", pa.bool_(), nullable=False),
        pa.field(
            "messages",
            pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])),
            nullable=False,
        ),
        pa.field("wanted", pa.string()),
        pa.field("unwanted", pa.string()),
        pa.field("references", pa.list_(pa.string()), nullable=False),
        pa.field("paraphrase", pa.string()),
        pa.field("metadata", pa.map_(pa.string(), pa.string()), nullable=False),
    ]
)

QUARANTINE = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("traceback", pa.string()),
    ]
)

# `content` identifies the conversation with all its turns. A row with a `failure` has no reply.
REPLIES = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("thought", pa.string()),
        pa.field("cut_off", pa.bool_(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("in_thought", pa.bool_(), nullable=False),
        pa.field("failure", pa.string()),
        pa.field("traceback", pa.string()),
    ]
)

# The verdicts of one judge on a piece of replies, in their order. `seconds` differs from time to time: no manifest may
# hash such a piece.
OUTCOMES = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string()),
        pa.field("cost", pa.float64()),
        pa.field("seconds", pa.float64()),
    ]
)

VERDICTS = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("reply", pa.string(), nullable=False),
        pa.field("thought", pa.string()),
        pa.field("cut_off", pa.bool_(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

# Verdicts of the selection on dev. `cell` counts the candidates of a method from 0 in the order of its grid. The method
# of the unsteered model is `baseline`; the method of the control's shuffles is `random`.
DEV_VERDICTS = pa.schema(
    [
        pa.field("method", pa.string(), nullable=False),
        pa.field("cell", pa.int32(), nullable=False),
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
    ]
)

# One row per token, sample after sample. `position` counts the tokens of a sample from 0. `label` is 1 for positive, 0
# for negative, and null for a conversation without a label; `region` is 0 for question, 1 for prompt and 2 for reply.
# `traces_schema` adds the selections and the logits.
TRACES = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("label", pa.int8()),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("region", pa.uint8(), nullable=False),
    ]
)


def traces_schema(layout: TraceLayout) -> pa.Schema:
    """TRACES, the experts that were selected, and one column for each kept layer: a token's E raw logits.

    ``selected`` holds the ids [L, K] of a token in the kept layers, one byte each if E < 256, else as little-endian
    int16; E stands for no expert. Logits are little-endian float16 bytes. The schema's metadata are those of the
    layout, so that a shard can be read without the model. A shard that keeps counts alone has neither column, and one
    that keeps the selections has no logits.
    """
    cell_bytes = layout.top_k * (1 if layout.n_experts < 256 else 2)
    selected = pa.field(SELECTED, pa.binary(len(layout.layers) * cell_bytes), nullable=False)
    logits = [pa.field(layer_column(layer), pa.binary(2 * layout.n_experts), nullable=False) for layer in layout.layers]
    kept = {"logits": [selected, *logits], "selected": [selected], "counts": []}[layout.keeps]
    return pa.schema([*TRACES, *kept], metadata=layout.metadata())


SELECTED = "selected"
"""Name of the column that holds the ids of the selected experts."""


def layer_column(layer: int) -> str:
    """Name of the column that holds MoE layer ``layer`` (counted from 0 in depth order)."""
    return f"z_{layer:03d}"
