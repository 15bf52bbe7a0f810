"""RAY_ADDRESS is looked at before Ray tries it for minutes, and a cluster that wants a token gets it."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest
import ray
from ray._private import utils

from mascing.errors import MascingError
from mascing.progress import forwarded, told_of_losses
from mascing.schemas.config import ComputeConfig
from mascing.tasks.running.cluster import connect, refuse_absent_cluster
from tests.fixtures_ray import TOKEN

JOINING = """
import ray
from mascing.errors import MascingError
from mascing.progress import forwarded
from mascing.schemas.config import ComputeConfig
from mascing.tasks.running.cluster import connect

try:
    with forwarded(print):
        connect(ComputeConfig(workers=3))
    print(ray.get(ray.remote(lambda: "a task ran").remote()))
except MascingError as error:
    print(error)
"""


def test_without_an_address_a_local_instance_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    refuse_absent_cluster()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at RAY_ADDRESS 127.0.0.1:1"),
        ("ray://127.0.0.1:1", "no Ray cluster answers at RAY_ADDRESS ray://127.0.0.1:1"),
        ("nowhere.invalid:6379", "no Ray cluster answers"),
        ("127.0.0.1", "RAY_ADDRESS 127.0.0.1 cannot be used .*: start the cluster"),
    ],
)
def test_an_address_without_a_cluster_is_told(address: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(MascingError, match=message):
        refuse_absent_cluster()


def test_the_port_of_another_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as server:  # Ray asks the machine's own address instead of 127.0.0.1

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(MascingError, match="is no Ray cluster: name the port that `ray start --head` printed"):
            refuse_absent_cluster()


def told(address: str, home: Path, **settings: str) -> str:
    """What a program prints that joins the cluster and runs a task on it, or the error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_ADDRESS": address, "HOME": str(home), **settings}
    done = subprocess.run([sys.executable, "-c", JOINING], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Unauthenticated" not in done.stderr
    return done.stdout.strip()


def test_a_cluster_with_a_token_is_joined_whatever_the_mode_says(ray_with_token: str, tmp_path: Path) -> None:
    assert told(ray_with_token, tmp_path, RAY_AUTH_TOKEN=TOKEN).splitlines() == [
        "ray: the cluster has 1 CPUs and 0 GPUs, room for 1 of 3 workers: the others wait until it grows; to do "
        "without them, lower compute.workers",
        "a task ran",
    ]


def test_a_stale_token_is_told_at_once_with_the_variable_to_set(ray_with_token: str, tmp_path: Path) -> None:
    begun = monotonic()
    assert "wants a token, and there is none here: set RAY_AUTH_TOKEN to" in told(ray_with_token, tmp_path)
    stale = tmp_path / ".ray" / "auth_token"
    stale.parent.mkdir()
    stale.write_text("of another cluster")
    assert f"refuses the token of {stale}: set RAY_AUTH_TOKEN to" in told(ray_with_token, tmp_path)
    assert "refuses the token of RAY_AUTH_TOKEN: " in told(ray_with_token, tmp_path, RAY_AUTH_TOKEN="wrong")
    assert monotonic() - begun < 30  # Ray tries for 20 s each time


def test_a_token_file_that_is_not_there_is_told(own_settings_of_ray: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_settings_of_ray.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    with pytest.raises(MascingError, match=r"Ray's token cannot be read .*nothing\): correct or unset RAY_AUTH_TOKEN_"):
        refuse_absent_cluster()


def test_more_workers_than_cpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("mascing.tasks.running.cluster.start_local", lambda cpus: None)
    monkeypatch.setattr("mascing.tasks.running.cluster.ray.cluster_resources", dict)
    monkeypatch.setattr("mascing.tasks.running.cluster.Cluster", lambda: None)
    lines: list[str] = []
    with forwarded(lines.append):
        connect(ComputeConfig(workers=1))
        connect(ComputeConfig(workers=10_000))
    [line] = lines
    assert line.startswith("ray: 10000 workers want 10000 CPUs and this machine has ")


def test_a_local_instance_that_does_not_start_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray raises it

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", timed_out)
    with pytest.raises(MascingError, match=r"^a local Ray instance does not start \(The current node timed out"):
        connect(ComputeConfig(workers=1))


def test_a_local_instance_that_hangs_while_it_starts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    def hang(**_: object) -> None:
        assert told.wait(10)
        raise Exception("The run was ended.")

    def end(line: str) -> None:
        lines.append(line)
        told.set()

    lines = list[str]()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", hang)
    monkeypatch.setattr("mascing.tasks.running.cluster._START_SECONDS", 0.1)
    with told_of_losses(end), pytest.raises(MascingError):
        connect(ComputeConfig(workers=1))
    [line] = lines
    assert line.startswith("Ray does not start within 0 s: check memory")
    assert line.endswith("the same command goes on from there")


def test_a_sigterm_while_ray_starts_stops_the_run_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(**_: object) -> None:
        utils.set_sigterm_handler(lambda number, frame: sys.exit(number))  # as Ray does first of all
        os.kill(os.getpid(), signal.SIGTERM)
        sleep(10)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", terminated)
    before, claim = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    try:
        with pytest.raises(KeyboardInterrupt):
            connect(ComputeConfig(workers=1))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert utils.set_sigterm_handler is claim
