"""Whatever a run and a collection leave: a flipped bit in it is noticed when it is read, and the object named."""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from mascing.config import load_config
from mascing.errors import DamagedError, MascingError
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.finished_run import read_inputs, read_result
from mascing.runs.registry import current
from mascing.runs.run_folder import RunFolder
from mascing.runs.upkeep.inventory import ListedManifest, is_manifest, take_inventory
from mascing.runs.upkeep.verification import verify
from mascing.schemas.config import GatesConfig
from mascing.schemas.finished import MANIFESTS, RunStages
from mascing.schemas.manifest import Manifest
from mascing.storage import parquet
from mascing.storage.lease import Lease, held
from mascing.storage.manifests import read_manifest, read_stored
from mascing.storage.object_storage import Storage
from mascing.storage.s3_client import RetryPolicy, S3Client
from mascing.storage.s3_store import S3Store
from mascing.storage.sealing import open_json
from mascing.storage.urls import BucketPrefix
from mascing.tasks.conclude import conclude
from mascing.tasks.replying import replies, verdict_pieces
from mascing.tasks.running.stored_items import stored_items
from tests.tasks.here_pool import HerePool
from tests.tasks.recipe_outputs import config_in, run

Reader = Callable[[], object]

NOTICED = re.compile("^checksum failed: |is missing or damaged ")
ENDS, WITHIN = 60, 60
"""Bytes at either end of an object of which each gets a flipped bit, and how many of those between."""


@pytest.fixture(scope="module")
def left(every_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """All that a run, an audit and a collection of conversations leave."""
    folder = tmp_path_factory.mktemp("left")
    shutil.copytree(every_stage, folder / "storage")
    storage, config = Storage.open(str(folder / "storage")), config_in(folder)
    manifests: dict[str, Manifest] = {manifest.stage: manifest for manifest in run(storage, config)}
    stages = RunStages.model_validate({name: manifests[name] for name in RunStages.model_fields if name in manifests})
    conclude(storage, config.model_copy(update={"gates": GatesConfig()}), stages, {})  # the run's own are no file's
    return storage


def kinds(storage: Storage) -> dict[str, str]:
    """The smallest object of each kind by kind: its folder without the names of runs and content, and its name."""
    found: dict[str, str] = {}
    for stored in sorted(storage.entries(), key=lambda stored: stored.bytes):
        top, _, rest = stored.name.partition("/")
        file = rest.rpartition("/")[2] or top
        found.setdefault(f"{top}/{re.sub('[0-9a-f]{12,}|[0-9]+', '*', file)}", stored.name)
    return found


def readers(storage: Storage) -> dict[str, Reader]:
    """How each object is read, by name."""
    inventory = take_inventory(storage)
    shards = {
        shard.path or f"{folder}/{shard.name}": partial(read_stored, storage, folder, shard)
        for folder, manifest in inventory.manifests.items()
        for shard in manifest.shards
    }
    return {name: shards.get(name) or reader(storage, name) for name in inventory.objects}


def reader(storage: Storage, name: str) -> Reader:
    """How an object that no manifest names is read."""
    *folders, file = name.split("/")
    top = folders[0] if folders else ""
    if is_manifest(name):
        return partial(read_manifest, storage, f"{top}/{folders[1]}", MANIFESTS[top])
    if top == "replies":
        return lambda: replies.from_bytes(storage.read(name), storage.locate(name))
    if top == "verdicts":
        return lambda: verdict_pieces._from_bytes(storage.read(name), storage.locate(name))
    if top == "readings":
        return lambda: open_json(storage.read(name), storage.locate(name))
    if top == "registry":
        return partial(channel, storage, name)
    if file == "result.json":
        return partial(read_result, storage, RunFolder(folders[1]))
    if file == "inputs.json":
        return partial(read_inputs, storage, RunFolder(folders[1]))
    if file == "run.yaml" and storage.url.startswith("/"):
        return partial(load_config, storage.locate(name))
    if file.endswith(".parquet"):
        return lambda: parquet.from_bytes(storage.read(name), storage.locate(name))
    return partial(verified, storage, name)


def channel(storage: Storage, name: str) -> object:
    _, checkpoint, behaviour, file = name.split("/")
    model, _, digest = checkpoint.rpartition("-")
    return current(storage, NamedCheckpoint(model, digest), behaviour, file.removesuffix(".json"))


def verified(storage: Storage, name: str) -> None:
    """What is for people is read by `mascing storage verify` alone."""
    [*damaged] = verify(storage).damaged
    if damaged:
        raise MascingError(damaged[0])


def complaint(read: Reader) -> str:
    """What a reader says of a damaged object; nothing if it takes it."""
    try:
        read()
    except MascingError as error:
        return str(error)
    return ""


def flipped(data: bytes, places: Iterator[int]) -> Iterator[bytes]:
    """Copies of the bytes, each with one bit flipped; all bits of a byte have their turn."""
    for place in places:
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def overwrite(place: Path, data: bytes) -> None:
    """Write as many bytes as there are; some file systems flush a file to the disk that is emptied first."""
    with place.open("r+b") as file:
        file.write(data)


def places(size: int) -> Iterator[int]:
    step = max(1, (size - 2 * ENDS) // WITHIN)
    yield from (place for place in range(size) if place < ENDS or place >= size - ENDS or place % step == 0)


def test_every_flipped_bit_of_whatever_is_left_is_noticed_and_the_object_named(left: Storage) -> None:
    read, count = readers(left), 0
    for kind, name in kinds(left).items():
        place, content = Path(left.locate(name)), left.read(name)
        seldom = name.endswith(".html")  # all else is read as well each time
        read[name]()
        for damaged in list(flipped(content, places(len(content))))[:: 40 if seldom else 1]:
            overwrite(place, damaged)
            said = complaint(read[name])
            assert NOTICED.search(said), f"{kind}: a flipped bit passed unnoticed, or was told as {said}"
            assert str(place) in said
            count += 1
        overwrite(place, content)
    assert count > 5_000
    assert verify(left).damaged == ()


def test_verify_finds_one_of_each_kind_at_once(left: Storage) -> None:
    contents = {name: left.read(name) for name in kinds(left).values()}
    for name, content in contents.items():
        Path(left.locate(name)).write_bytes(next(flipped(content, iter([len(content) // 2]))))
    damaged = "\n".join(verify(left).damaged)
    for name, content in contents.items():
        Path(left.locate(name)).write_bytes(content)
        assert left.locate(name) in damaged or Path(left.locate(name)).parent.name in damaged


def test_what_rots_on_an_s3_server_is_noticed_too(left: Storage, s3_url: str) -> None:
    client, place = S3Client(RetryPolicy(checksum_tries=1)), BucketPrefix(s3_url.removeprefix("s3://"), uuid4().hex)
    there = Storage(S3Store(place, client))
    for name in left.list():
        there.create(name, left.read(name))
    read = readers(there)
    inventory = take_inventory(there)
    shards = inventory.named - {path for path in inventory.objects if is_manifest(path)}
    for name in kinds(there).values():
        content = there.read(name)
        where = {"Bucket": place.bucket, "Key": f"{place.prefix}/{name}"}
        head = client.call("head_object", **where)
        for damaged in flipped(content, iter([len(content) // 2])):
            client.call("put_object", **where, Body=damaged, Metadata=head["Metadata"])
            with pytest.raises(MascingError, match=NOTICED) as caught:
                read[name]()
            assert there.locate(name) in str(caught.value)
            if name in shards:  # to delete it alone would leave a manifest that names it
                assert isinstance(caught.value, DamagedError), name  # a stage is not tried again for it
                assert "delete the folder " in str(caught.value)
        there.overwrite(name, content)


def test_a_unit_is_checked_where_no_manifest_vouches_for_it_yet(left: Storage) -> None:
    manifests = [path for path in left.list() if path.startswith(("train/", "optimise/")) and is_manifest(path)]
    units = 0
    for path in manifests:
        for shard in ListedManifest.model_validate_json(open_json(left.read(path), path)).shards:
            if shard.name.startswith("candidates-") or shard.name.startswith("attribution"):
                continue  # put together from units when the stage ends
            units += 1
            place = Path(left.locate(f"{path.rpartition('/')[0]}/{shard.name}"))
            content = place.read_bytes()
            for damaged in flipped(content, iter(range(0, len(content), max(1, len(content) // 40)))):
                place.write_bytes(damaged)
                with pytest.raises(MascingError, match=f"^checksum failed: {re.escape(str(place))}"):
                    adopted(left, path.rpartition("/")[0], shard.name)
            place.write_bytes(content)
            assert adopted(left, path.rpartition("/")[0], shard.name) == content
    assert units >= 10


def adopted(storage: Storage, prefix: str, name: str) -> bytes:
    """A stored unit, as a driver takes it that goes on with its stage."""

    class Output:
        pass

    output = Output()
    output.storage, output.prefix = storage, prefix  # type: ignore[attr-defined]
    return stored_items(HerePool(), output, unasked, None, {name: None}, lambda done, total: None)[name]  # type: ignore[arg-type]


def unasked(*_: object) -> bytes:
    raise AssertionError("what is stored is not made again")


def test_a_lease_that_is_damaged_holds_nothing(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    with Lease.hold(storage, "x"):
        content = storage.read("leases/x.json")
        assert list(held(storage)) == ["x"]
        for damaged in flipped(content, iter(range(len(content)))):
            (tmp_path / "leases" / "x.json").write_bytes(damaged)
            assert held(storage) == {}
        (tmp_path / "leases" / "x.json").write_bytes(content)
