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
        pa.field("paraphrase", pa.string()),
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

VERDICTS = pa.schema(
    [
        pa.field("conversation_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("reply", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

# What selection judged on dev. `cell` counts the candidates of a method from 0 in the order of its grid; the unsteered
# model is the method `baseline`, the drawn shuffles of the control are `random`.
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

# One row a token, samples one after another, `position` counting from 0 in each; `label` 1 positive, 0 negative;
# `region` 0 question, 1 prompt, 2 reply. The logit columns follow: see `traces_schema`.
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
    """TRACES followed by one column a layer: the E raw logits of a token as little-endian float16 bytes.

    dtype, L and E stand in the schema metadata, so that a shard can be read without the model.
    """
    metadata = {"dtype": "float16", "n_layers": str(n_layers), "n_experts": str(n_experts)}
    columns = [pa.field(layer_column(layer), pa.binary(2 * n_experts), nullable=False) for layer in range(n_layers)]
    return pa.schema([*TRACES, *columns], metadata=metadata)


def layer_column(layer: int) -> str:
    """Name of the column that holds MoE layer ``layer`` (counted from 0 in depth order)."""
    return f"z_{layer:03d}"
