"""What a trace shard says of itself: whose routing it holds, and which layers, spans and columns of it."""

import json
from collections.abc import Mapping
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.facts import RouterFacts

Region = Literal["question", "prompt", "reply"]
"""Where a token stands: in the final user turn, between it and the reply, or in the reply."""
REGIONS: tuple[Region, ...] = get_args(Region)

Keep = Literal["logits", "selected", "counts"]
"""``logits`` keeps the ids of the selected experts and the statistics too, ``selected`` the statistics too."""


def _refuse_unordered(layers: tuple[int, ...]) -> None:
    if list(layers) != sorted(set(layers)) or any(layer < 0 for layer in layers):
        raise ValueError(f"layers are numbers from 0 that rise, not {list(layers)}")


class Chosen(Frozen):
    """The part of the routing that is kept.

    ``layers`` are numbers among the MoE layers, from 0 in depth order; None stands for all of them.
    """

    layers: tuple[int, ...] | None = None
    spans: tuple[Region, ...] = Field(default=REGIONS, min_length=1)
    keep: Keep = "logits"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _refuse_unordered(self.layers or ())
        return self


EVERYTHING = Chosen()


class TraceLayout(RouterFacts):
    """The metadata of a shard. ``checkpoint`` identifies weights and tokenizer; empty if that is not known.

    ``spans`` are those that have tokens, and ``layers`` those that are kept, of the L layers of the model.
    """

    dtype: Literal["float16"] = "float16"
    checkpoint: str
    layers: tuple[int, ...] = Field(min_length=1)
    spans: tuple[Region, ...] = Field(min_length=1)
    keeps: Keep

    @model_validator(mode="after")
    def _fits_the_model(self) -> Self:
        _refuse_unordered(self.layers)
        if self.layers[-1] >= len(self.layer_ids) or not 0 < self.top_k <= self.n_experts:
            raise ValueError("layers are below the number of MoE layers, and top_k is from 1 to n_experts")
        return self

    def metadata(self) -> dict[str, str]:
        """Every field as text: a text as it is, anything else as JSON. ``n_layers`` says what L is."""
        fields = {**self.model_dump(mode="json"), "n_layers": len(self.layer_ids)}
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Inverse of :meth:`metadata`; other entries are ignored. Raises ValueError or KeyError for another file's."""
        texts = ("dtype", "checkpoint", "family", "scoring", "fingerprint", "keeps")
        return cls.model_validate(
            {name: metadata[name] if name in texts else json.loads(metadata[name]) for name in cls.model_fields}
        )
