"""Which split a group belongs to: a stable function of its id alone."""

import hashlib

from mascing.schemas.config import SplitConfig
from mascing.schemas.conversation import Split

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def split_of(group_id: str, splits: SplitConfig) -> Split:
    """Return the split of a group by SHA-256 of its id: the same in every process, run and data set.

    All conversations about one goal share its group id, so no goal is in two splits. The shares hold on average over
    many groups. Growing `train` or shrinking `test` moves only the groups at the borders.
    """
    digest = hashlib.sha256(group_id.encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:8]) / 2**64
    if position < splits.train:
        return "train"
    if position < splits.train + splits.dev:
        return "dev"
    return "test"
