"""How far two masks move the same experts in the same direction, beside what chance would give.

Shape suffixes: L MoE layer, E expert.
"""

from torch import Tensor

from mascing.schemas.result import Overlap


def overlap(a_LE: Tensor, b_LE: Tensor) -> Overlap:
    """Compare the signs of two masks' effects, each [L, E], in which 0 is no entry.

    By chance, each layer keeps as many entries of each sign, at experts drawn at random. The expected Jaccard index is
    that of the expected number of shared entries.
    """
    entries = int((a_LE != 0).sum()), int((b_LE != 0).sum())
    same = [(a_LE * sign > 0, b_LE * sign > 0) for sign in (1, -1)]
    shared = sum(int((a & b).sum()) for a, b in same)
    expected = sum(float((a.sum(-1) * b.sum(-1) / a.shape[-1]).sum()) for a, b in same)
    return Overlap(
        entries=entries,
        shared=shared,
        opposed=int((a_LE.sign() * b_LE.sign() < 0).sum()),
        jaccard=_jaccard(entries, shared),
        by_chance=_jaccard(entries, expected),
    )


def _jaccard(entries: tuple[int, int], shared: float) -> float:
    union = sum(entries) - shared
    return shared / union if union else 0.0
