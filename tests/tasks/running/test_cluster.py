"""RAY_ADDRESS is looked at before Ray tries it for minutes."""

import socket
import threading

import pytest

from mascing.errors import MascingError
from mascing.tasks.running.cluster import refuse_absent_cluster


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
