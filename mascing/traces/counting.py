"""How often experts were selected: by conversation, by class of conversations, or by all tokens together.

Shapes: T token, R row that a token is counted in, L MoE layer, E expert, K selected expert.
"""

from collections.abc import Iterator

from torch import Tensor


def selections(selected_TLK: Tensor, row_T: Tensor, n_rows: int, n_experts: int) -> Iterator[Tensor]:
    """How often the tokens of each row selected each expert, int64 [R, E] of one layer after the other to hold little.

    ``row_T`` is int64. The id E, which stands for no expert, is not counted.
    """
    first_T1 = row_T[:, None] * (n_experts + 1)
    for ids_TK in selected_TLK.unbind(1):
        counts = (first_T1 + ids_TK).flatten().bincount(minlength=n_rows * (n_experts + 1))
        yield counts.view(n_rows, n_experts + 1)[:, :n_experts]
