"""What steered a reply, as the reply itself says it."""

from collections.abc import Mapping

from pydantic import Field, NonNegativeInt

from mascing.schemas.base import Frozen
from mascing.serving.mask_table import Admission


class InForce(Frozen):
    """The mask that was in force during one reply; ``mask`` and ``digest`` are null if there was none.

    It is the member ``mascing`` (:data:`mascing.serving.choice.MEMBER`) of a reply, and of the last chunk of a stream.
    ``tokens`` are those that the mask acts on, as the request asked. ``steered_tokens`` counts those of prompt and
    reply on which it acted, by depth of the MoE layer; it is empty without a mask, and 0 in each layer if the mask met
    none of the tokens that it was to act on. ``selected`` says how often each expert was selected by the tokens that
    were computed, if the request asked for that; it is empty if the model does not show it.
    """

    mask: str | None
    digest: str | None
    tokens: str
    steered_tokens: dict[str, NonNegativeInt] = Field(default_factory=dict)
    selected: dict[str, list[NonNegativeInt]] | None = Field(default=None, exclude_if=lambda counts: counts is None)

    @classmethod
    def of(
        cls,
        admission: Admission,
        steered_tokens: Mapping[int, int],
        selected: Mapping[int, list[int]] | None = None,
    ) -> "InForce":
        """The proof of an admitted request whose reply is done, from what was counted while it was made."""
        counted = {} if admission.digest is None else {str(layer): n for layer, n in steered_tokens.items()}
        return cls(
            mask=admission.name,
            digest=admission.digest,
            tokens=admission.choice.tokens,
            steered_tokens=counted,
            selected=None if selected is None else {str(layer): counts for layer, counts in selected.items()},
        )
