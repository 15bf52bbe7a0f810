"""The pyarrow schema of every Parquet table that crosses a stage boundary."""

import pyarrow as pa

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
    ]
)

REPLIES = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("thought", pa.string()),
        pa.field("cut_off", pa.bool_(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("in_thought", pa.bool_(), nullable=False),
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

# One row per token, sample after sample. `position` counts from 0 in each sample. `label` is 1 for positive and 0 for
# negative; `region` is 0 for question, 1 for prompt and 2 for reply. `traces_schema` adds the logit columns.
TRACES = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("region", pa.uint8(), nullable=False),
    ]
)


def traces_schema(n_layers: int, n_experts: int) -> pa.Schema:
    """TRACES followed by one column per layer: the E raw logits of a token as little-endian float16 bytes.

    The schema metadata holds dtype, L and E, so that a shard can be read without the model.
    """
    metadata = {"dtype": "float16", "n_layers": str(n_layers), "n_experts": str(n_experts)}
    columns = [pa.field(layer_column(layer), pa.binary(2 * n_experts), nullable=False) for layer in range(n_layers)]
    return pa.schema([*TRACES, *columns], metadata=metadata)


def layer_column(layer: int) -> str:
    """Name of the column that holds MoE layer ``layer`` (counted from 0 in depth order)."""
    return f"z_{layer:03d}"
