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

# Judged replies. `raw` is what the judge said, if it speaks, and `cost` what it took in USD, if it has a price: of a
# live conversation, for all its turns. No column holds a time, because manifests hash these tables.
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
        pa.field("raw", pa.string()),
        pa.field("cost", pa.float64()),
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


def _interval(name: str) -> list[pa.Field]:
    return [pa.field(f"{name}{part}", pa.float64()) for part in ("", "_low", "_high")]


# A row for each cell of a campaign. Only a `finished` one has numbers; `reason` says why another has none. `unscored`
# counts replies on test over all sets. `utility` and `protected` are the changes of the set of that kind that changes
# for the worst. `uplift_mean`, `_least` and `_most` are those of the finished seeds of the same model, behaviour and
# method. `holm_p` and `holm_p_control` are adjusted together, for all comparisons of the finished cells. `paper_`
# columns are what a paper reports.
LEADERBOARD = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("behaviour", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("checkpoint", pa.string()),
        pa.field("run", pa.string()),
        pa.field("conversations", pa.int64()),
        *_interval("unsteered"),
        *_interval("target_rate"),
        *_interval("uplift"),
        *_interval("uplift_corrected"),
        pa.field("uplift_mean", pa.float64()),
        pa.field("uplift_least", pa.float64()),
        pa.field("uplift_most", pa.float64()),
        pa.field("finished_seeds", pa.int64()),
        pa.field("utility_set", pa.string()),
        *_interval("utility"),
        pa.field("protected_set", pa.string()),
        *_interval("protected"),
        pa.field("unscored", pa.int64()),
        pa.field("decision", pa.string()),
        pa.field("published", pa.bool_()),
        pa.field("replies", pa.int64()),
        pa.field("tokens_per_reply", pa.float64()),
        pa.field("judge_cost", pa.float64()),
        pa.field("p", pa.float64()),
        pa.field("holm_p", pa.float64()),
        pa.field("p_control", pa.float64()),
        pa.field("holm_p_control", pa.float64()),
        pa.field("paper_unsteered", pa.float64()),
        pa.field("paper_steered", pa.float64()),
        pa.field("paper", pa.string()),
    ]
)

# How the methods of a campaign compare over its pairs of a model and a behaviour. `best` is the share of bootstrap
# samples in which a method has the highest mean uplift.
RANKING = pa.schema(
    [
        pa.field("method", pa.string(), nullable=False),
        *_interval("mean_rank"),
        *_interval("mean_uplift"),
        pa.field("best", pa.float64(), nullable=False),
        pa.field("passed", pa.int64(), nullable=False),
        pa.field("cells", pa.int64(), nullable=False),
        pa.field("tasks", pa.int64(), nullable=False),
    ]
)
