"""A real S3 server (SeaweedFS) on free local ports, started once per session for the first test that needs it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from mascing.storage.object_storage import Storage
from mascing.storage.urls import BucketPrefix

if TYPE_CHECKING:  # takes seconds to import, and most test runs do not need it
    from mascing.storage.s3_client import S3Client

_KEY, _SECRET, _BUCKET = "mascing-tests", "only-for-tests", "mascing-tests"
_GRPC_OFFSET = 10_000  # SeaweedFS serves gRPC at each port plus this
_PATIENCE_SECONDS = 60


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``s3://`` URL of a bucket, with its AWS settings in the environment; each test uses its own prefix."""
    with served(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """``s3://`` URL of a bucket on a server that keeps its data in ``folder``, which is removed at the end."""
    folder.mkdir(exist_ok=True)
    master, volume, filer, s3 = _free_ports(4)
    endpoint = f"http://127.0.0.1:{s3}"
    server = _start(folder, master, volume, filer, s3)
    try:
        with pytest.MonkeyPatch.context() as settings:
            settings.setenv("AWS_ENDPOINT_URL", endpoint)
            settings.setenv("AWS_ACCESS_KEY_ID", _KEY)
            settings.setenv("AWS_SECRET_ACCESS_KEY", _SECRET)
            settings.setenv("AWS_DEFAULT_REGION", "us-east-1")
            _make_bucket(server, folder / "log.txt")
            yield f"s3://{_BUCKET}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # after SIGTERM it needs 15 seconds or more
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, master: int, volume: int, filer: int, s3: int) -> "subprocess.Popen[bytes]":
    identity = {"name": "tests", "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir(exist_ok=True)  # a server may start again on its data
    with open(folder / "log.txt", "wb") as log:
        return subprocess.Popen(
            [
                Path(sysconfig.get_path("scripts"), "weed"), f"-logdir={folder}", "server", f"-dir={folder / 'data'}",
                "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
                f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}",
                "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=1024",
                "-volume.max=300", "-volume.minFreeSpace=1", "-volume.preStopSeconds=0",
                "-master.electionTimeout=500ms", "-master.heartbeatInterval=100ms", "-master.raftBootstrap=false",
            ],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def _make_bucket(server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server accepts a bucket and an object."""
    import s3fs
    from botocore.exceptions import BotoCoreError

    client = s3fs.S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={"retries": {"total_max_attempts": 1}, "connect_timeout": 2, "read_timeout": 10},
    )
    client.retries = 1
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            client.makedirs(_BUCKET, exist_ok=True)
            client.pipe_file(f"{_BUCKET}/ready", b"ready")
            return
        except (OSError, BotoCoreError) as error:
            last = error
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"SeaweedFS did not start ({last}):\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    """Ports that are free and whose gRPC ports are free too."""
    ports: list[int] = []
    sockets: list[socket.socket] = []
    try:
        while len(ports) < count:
            plain, twin = socket.socket(), socket.socket()
            sockets += [plain, twin]
            plain.bind(("127.0.0.1", 0))
            port = plain.getsockname()[1]
            if port + _GRPC_OFFSET > 65_535:
                continue
            try:
                twin.bind(("127.0.0.1", port + _GRPC_OFFSET))
            except OSError:
                continue
            ports.append(port)
    finally:
        for held in sockets:
            held.close()
    return ports


@pytest.fixture(scope="session")
def s3_client(s3_url: str) -> "S3Client":
    """One connected client shared by tests, because connecting takes half a second."""
    from mascing.storage.s3_client import S3Client

    return S3Client()


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind in turn."""
    if request.param == "local":
        return Storage.open(str(tmp_path / "storage"))
    from mascing.storage.s3_store import S3Store

    return Storage(S3Store(BucketPrefix(_BUCKET, uuid4().hex), request.getfixturevalue("s3_client")))
