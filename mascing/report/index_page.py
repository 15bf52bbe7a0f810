"""The index of a storage URL, made from what is stored: runs, audits, campaigns, channels with their history, masks."""

from dataclasses import dataclass

from pydantic import ValidationError

from mascing.campaigns.listing import listed_campaigns
from mascing.errors import StorageError
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.report.audit_page import conclusion
from mascing.report.filling import filled
from mascing.report.looks import in_order
from mascing.report.wording import points_text
from mascing.runs.files import CARD, MASK
from mascing.runs.listing import listed_runs
from mascing.runs.registry import channels
from mascing.schemas.cards.mask_card import Channel, MaskCard
from mascing.schemas.finished import MaskStored
from mascing.storage.manifests import read_manifest, read_shard
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class MaskRow:
    """A published mask, and the channels that hold it now."""

    prefix: str
    card: MaskCard
    held_by: list[str]

    @property
    def checkpoint(self) -> str:
        """The model by name and content."""
        return NamedCheckpoint(self.card.model, self.card.data["checkpoint"]).label

    @property
    def uplift(self) -> str:
        """The measured uplift with its interval, in points."""
        return points_text(self.card.result.uplift)


def render_index(storage: Storage) -> str:
    """Render the page as HTML from what is stored; it links to the files beside it and loads nothing."""
    runs, every_channel = listed_runs(storage), channels(storage)
    return filled(
        "index.html.jinja",
        scripts=False,
        runs=[run for run in runs if not run.is_audit],
        audits=[run for run in runs if run.is_audit],
        campaigns=listed_campaigns(storage),
        channels=every_channel,
        masks=_mask_rows(storage, every_channel),
        in_order=in_order,
        conclusion=conclusion,
        mask_file=MASK,
        card_file=CARD,
    )


def _mask_rows(storage: Storage, every_channel: list[Channel]) -> list[MaskRow]:
    rows = []
    for path in storage.list(MaskStored.stage_name()):
        prefix, _, name = path.rpartition("/")
        if name != CARD:
            continue
        try:
            card = MaskCard.model_validate_json(read_shard(storage, read_manifest(storage, prefix, MaskStored), CARD))
        except (ValidationError, FileNotFoundError, StorageError):  # `mascing storage verify` tells what is damaged
            continue
        rows.append(MaskRow(prefix, card, [channel.address for channel in every_channel if channel.mask == prefix]))
    return rows
