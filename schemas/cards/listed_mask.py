"""A mask as plain JSON: the experts that it moves, row by row, for people and for other tools."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mascing.schemas.base import Frozen


class ListedModel(Frozen):
    """What a list says of the model that it was made for; None where it says nothing.

    ``layers`` are the depths of the MoE layers, ``fingerprint`` that of config and router weights.
    """

    family: str | None = None
    layers: tuple[int, ...] | None = None
    n_layers: int | None = Field(default=None, gt=0)
    n_experts: int | None = Field(default=None, gt=0)
    top_k: int | None = Field(default=None, gt=0)
    fingerprint: str | None = None


class ListedExpert(Frozen):
    """One expert: a ``bias`` in units of router logits, or ``forced`` on or off, where few have room by ``priority``.

    ``layer`` is the depth in the model, dense layers counted. A row with a priority alone forces nothing.
    """

    layer: int = Field(ge=0)
    expert: int = Field(ge=0)
    bias: float | None = None
    forced: Literal["on", "off"] | None = None
    priority: float | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "ListedExpert":
        has_bias, has_override = self.bias is not None, self.forced is not None or self.priority is not None
        if has_bias == has_override:
            raise ValueError(
                f'layer {self.layer}, expert {self.expert} needs either "bias": a number, or "forced": "on" or "off"'
            )
        return self


class ListedMask(Frozen):
    """The whole file. ``epsilon`` is the step of an override; ``provenance`` and ``digest`` are the exported mask's."""

    format: Literal["mascing-experts-1"]
    model: ListedModel = ListedModel()
    epsilon: float = Field(default=1e-2, gt=0)
    experts: tuple[ListedExpert, ...] = Field(min_length=1)
    provenance: dict[str, Any] | None = None
    digest: str | None = None

    @model_validator(mode="after")
    def _one_rule_for_all(self) -> "ListedMask":
        if len({row.bias is None for row in self.experts}) > 1:
            raise ValueError("some experts have a bias and some are forced: a mask has one rule, so make two masks")
        places = [(row.layer, row.expert) for row in self.experts]
        if len(set(places)) < len(places):
            layer, expert = next(place for place in places if places.count(place) > 1)
            raise ValueError(f"layer {layer}, expert {expert} stands there twice")
        return self
