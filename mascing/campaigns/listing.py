"""All campaigns under a storage URL with how far they are, for lists of them."""

from dataclasses import dataclass
from datetime import datetime

from mascing.campaigns.folder import CampaignFolder, stored_campaigns
from mascing.errors import DataError
from mascing.evidence.results import CONTROL
from mascing.storage import parquet
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class ListedCampaign:
    """A campaign, when its leaderboard was last written (UTC), and its cells; None where they cannot be read."""

    folder: CampaignFolder
    written: datetime
    states: tuple[str, ...] | None

    @property
    def progress(self) -> str:
        """How many cells are there, in words; those of the control do not count."""
        if self.states is None:
            return "not readable by this version"
        failed = self.states.count("failed")
        said = f"{self.states.count('finished')} of {len(self.states)} cells"
        return f"{said}, {failed} failed" if failed else said


def listed_campaigns(storage: Storage) -> list[ListedCampaign]:
    """All campaigns, the latest first; one that another version wrote is listed without its cells."""
    return [
        ListedCampaign(found.folder, found.written, _states(storage, found.folder))
        for found in stored_campaigns(storage)
    ]


def _states(storage: Storage, folder: CampaignFolder) -> tuple[str, ...] | None:
    try:
        table = parquet.from_bytes(storage.read(folder.leaderboard), folder.leaderboard)
        rows = table.select(["method", "state"]).to_pylist()
    except (DataError, FileNotFoundError, KeyError):  # of another version, or deleted since it was listed
        return None
    return tuple(row["state"] for row in rows if row["method"] != CONTROL)
