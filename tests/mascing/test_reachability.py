"""Reachability of network addresses."""

import socket
import threading

import pytest

from mascing.reachability import answers, read_bytes, speaks_grpc, write_bytes


def test_a_listening_port_answers_and_a_closed_one_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(f"127.0.0.1:{port}")
        assert answers(f"http://127.0.0.1:{port}/api")
    assert not answers(f"127.0.0.1:{port}")
    assert not answers(f"ray://127.0.0.1:{port}")


def test_an_impossible_port_does_not_answer_for_the_one_of_its_last_16_bits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not answers(f"127.0.0.1:{port + 2**16}")
        assert not speaks_grpc(f"127.0.0.1:{port + 2**16}")


def test_an_address_without_port_is_left_to_its_client() -> None:
    assert answers("auto")


@pytest.mark.parametrize(
    ("answer", "expected"), [(b"\0\0\0\4\0\0\0\0\0", True), (b"HTTP/1.1 400 Bad Request", False), (b"", False)]
)
def test_a_grpc_server_opens_with_settings(answer: bytes, expected: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        assert speaks_grpc(f"127.0.0.1:{server.getsockname()[1]}") == expected
    assert not speaks_grpc(f"127.0.0.1:{server_port_of_nobody()}")


def server_port_of_nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_no_more_is_read_of_a_url_than_was_allowed() -> None:
    write_bytes("memory://reachability/x", b"four")
    assert read_bytes("memory://reachability/x") == read_bytes("memory://reachability/x", 4) == b"four"
    with pytest.raises(ValueError, match="larger than"):
        read_bytes("memory://reachability/x", 3)
