"""The selection rates of the unsteered model that a mask was found on, as its card keeps them."""

from pydantic import Field

from mascing.schemas.base import Frozen


class RoutingRates(Frozen):
    """How often each expert of each MoE layer was selected, per token of the probe conversations.

    ``rates`` [L][E] are rounded; the counts of each conversation lie beside the card. ``layers`` are depths in the
    model.
    """

    conversations: int = Field(ge=0)
    tokens: int = Field(ge=0)
    top_k: int = Field(gt=0)
    layers: tuple[int, ...]
    rates: tuple[tuple[float, ...], ...]
