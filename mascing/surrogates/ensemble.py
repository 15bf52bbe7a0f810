"""Several surrogates in place of one, equal in all but their seeds: no search can live off the quirks of one."""

_STRIDE = 1_000_003


def member_seeds(seed: int, members: int) -> list[int]:
    """The seed of each member; that of the first is ``seed``, and runs of nearby seeds share none."""
    return [seed + _STRIDE * member for member in range(members)]
