"""Ensembles of surrogates that differ only in their seeds, so that no search exploits the quirks of a single one."""

_STRIDE = 1_000_003


def member_seeds(seed: int, members: int) -> list[int]:
    """The seed of each member; the first is ``seed``, and runs with nearby seeds share none."""
    return [seed + _STRIDE * member for member in range(members)]
