"""What lies under a storage URL, and which objects the manifests there name. It reads manifests of all versions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import BaseModel, ValidationError

from mascing.errors import DataError, MascingError, StorageError
from mascing.schemas.finished import MANIFESTS
from mascing.schemas.manifest import Shard, stage_prefix
from mascing.storage.manifests import MANIFEST, paths_of
from mascing.storage.object_storage import Storage, Stored
from mascing.storage.sealing import open_json

PIECES = ("traces", "replies", "trials", "verdicts", "readings")
"""The folders of pieces, which stages share and which a run takes from wherever it finds them."""


class ListedManifest(BaseModel):
    """What all versions of a manifest have: the stage and its shards."""

    stage: str
    name: str
    fingerprint: str
    shards: tuple[Shard, ...]

    @property
    def prefix(self) -> str:
        """Folder of the stage's files."""
        return stage_prefix(self.stage, self.name, self.fingerprint)


@dataclass
class Inventory:
    """All objects by name, the manifests by the folder that they lie in, and why others cannot be read."""

    objects: dict[str, Stored]
    manifests: dict[str, ListedManifest] = field(default_factory=dict)
    unreadable: dict[str, MascingError] = field(default_factory=dict)

    @property
    def named(self) -> set[str]:
        """The manifests and the objects that they name."""
        names = {f"{folder}/{MANIFEST}" for folder in (*self.manifests, *self.unreadable)}
        for folder, manifest in self.manifests.items():
            names.update(path for shard in manifest.shards for path in paths_of(folder, shard))
        return names


def take_inventory(storage: Storage, progress: Callable[[int, int], None] = lambda done, total: None) -> Inventory:
    """List everything and read all manifests; ``progress`` is told how many of them are read, and of how many."""
    inventory = Inventory({stored.name: stored for stored in storage.entries()})
    paths = [path for path in inventory.objects if is_manifest(path)]
    for number, path in enumerate(paths, start=1):
        folder = str(PurePosixPath(path).parent)
        try:
            inventory.manifests[folder] = _read(storage, path)
        except FileNotFoundError:  # deleted since it was listed
            pass
        except MascingError as error:
            inventory.unreadable[folder] = error
        progress(number, len(paths))
    return inventory


def is_manifest(path: str) -> bool:
    """Whether an object of this name is the manifest of a stage."""
    return stage_folder(path) is not None and path.count("/") == 2 and path.endswith(f"/{MANIFEST}")


def stage_folder(path: str) -> str | None:
    """The folder of the stage's output that an object belongs to; None if it is of no stage."""
    stage, _, rest = path.partition("/")
    name, slash, _ = rest.partition("/")
    return f"{stage}/{name}" if stage in MANIFESTS and slash else None


def _read(storage: Storage, path: str) -> ListedManifest:
    data, remedy = storage.read(path), MANIFESTS[path.partition("/")[0]].remedy
    try:
        return ListedManifest.model_validate_json(open_json(data, storage.locate(path), remedy))
    except DataError as error:
        raise StorageError(str(error)) from error
    except ValidationError as error:
        raise StorageError(f"{storage.locate(path)} is no manifest: {remedy}") from error
