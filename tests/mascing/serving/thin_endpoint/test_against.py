"""`mascing mask verify --against`: what it proves of a running server, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from mascing.cli import main
from mascing.errors import EndpointError, MaskError, SteeringError
from mascing.serving.against import verify_against
from mascing.serving.in_force import InForce
from mascing.serving.thin_endpoint import completion
from tests.mascing.serving.running import Running, foreign


def test_a_mask_that_acts_on_the_server_is_proved(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.masks["defence"].save(tmp_path / "mask.safetensors")
    assert main(["mask", "verify", str(tmp_path), "--against", server.url]) == 0
    served, holds, changes = capsys.readouterr().out.splitlines()
    assert served == f"ok: {server.url} serves tiny"
    assert f"as defence with digest {server.masks['defence'].digest}; 4 replies say that it steered them" in holds
    assert "in each of 3 layers" in holds
    assert changes == "ok: changes 4 of 4 greedy replies"


def test_one_proof_is_asked_for_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mask", "verify", "m", "--model", "./m", "--against", "http://127.0.0.1:1"]) == 2
    assert "give one, then the other" in " ".join(capsys.readouterr().err.split())


def test_a_mask_that_the_server_does_not_hold_is_refused(server: Running) -> None:
    with pytest.raises(MaskError, match="holds no mask"):
        list(verify_against(foreign(), server.url))


def test_replies_without_a_proof_are_refused(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "_proof", lambda in_force: {})
    with pytest.raises(SteeringError, match="do not say which mask was in force"):
        list(verify_against(server.masks["defence"], server.url))


@pytest.mark.parametrize(
    ("claimed", "said"),
    [
        ({"digest": None, "mask": None}, "the reply says that none was in force"),
        ({"digest": "e" * 64}, "the reply says that eeee"),
        ({"steered_tokens": {"0": 9, "2": 9}}, "no token was steered in layer 1"),
        ({"steered_tokens": {"0": 9, "1": 0, "2": 9}}, "no token was steered in layer 1"),
    ],
)
def test_a_proof_of_something_else_is_refused(
    server: Running, monkeypatch: pytest.MonkeyPatch, claimed: dict[str, Any], said: str
) -> None:
    def lying(in_force: InForce) -> dict[str, Any]:
        told = in_force.model_dump()
        return {"mascing": told | claimed if in_force.digest else told}

    monkeypatch.setattr(completion, "_proof", lying)
    with pytest.raises(SteeringError, match=said):
        list(verify_against(server.masks["defence"], server.url))


def test_a_mask_that_changes_no_reply_is_not_proved(server: Running) -> None:
    weak = server.masks["defence"] * 1e-6
    with server.held_as("weak", weak), pytest.raises(SteeringError, match="same with the mask as without"):
        list(verify_against(weak, server.url))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9/v1", "http://["])
def test_a_server_that_does_not_answer_is_said(server: Running, url: str) -> None:
    with pytest.raises(EndpointError, match="no server of masks answers"):
        list(verify_against(server.masks["defence"], url))
