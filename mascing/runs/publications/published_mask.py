"""What a publication left: a mask, its card, and the routing that it was found on."""

from dataclasses import dataclass

from pydantic import ValidationError

from mascing.errors import DataError, StorageError
from mascing.masks.mask import Mask
from mascing.runs.files import CARD, MASK, PROBES
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.traces.probes import Probes


@dataclass(frozen=True)
class PublishedMask:
    """A mask with its card; ``probes`` is None if it was published without."""

    prefix: str
    mask: Mask
    card: MaskCard
    probes: Probes | None


def published_mask(storage: Storage, prefix: str) -> PublishedMask:
    """The mask of a channel. Raises StorageError if it is missing or damaged, DataError if its card cannot be read."""
    try:
        stored = read_manifest(storage, prefix, MaskStored)
    except FileNotFoundError as error:
        raise StorageError(f"{storage.locate(prefix)} holds no finished mask: restore it, or roll back") from error
    named = {shard.name for shard in stored.shards}
    if CARD not in named:
        raise DataError(f"{storage.locate(prefix)} has no card, so there is nothing to hold it against")
    try:
        card = MaskCard.model_validate_json(read_shard(storage, stored, CARD))
    except ValidationError as error:
        raise DataError(f"the card of {storage.locate(prefix)} is not one that this version reads") from error
    probes = Probes.from_bytes(read_shard(storage, stored, PROBES)) if PROBES in named else None
    return PublishedMask(prefix, Mask.from_bytes(read_shard(storage, stored, MASK)), card, probes)
