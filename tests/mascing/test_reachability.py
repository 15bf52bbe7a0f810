"""Reachability of network addresses."""

import socket

from mascing.reachability import answers


def test_a_listening_port_answers_and_a_closed_one_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(f"127.0.0.1:{port}")
        assert answers(f"http://127.0.0.1:{port}/api")
    assert not answers(f"127.0.0.1:{port}")
    assert not answers(f"ray://127.0.0.1:{port}")


def test_an_impossible_port_does_not_answer() -> None:
    assert not answers("127.0.0.1:99999999")


def test_an_address_without_port_is_left_to_its_client() -> None:
    assert answers("auto")
