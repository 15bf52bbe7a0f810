"""`mascing mask verify --against`: what it proves of a running server, and what it refuses."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from mascing.cli import main
from mascing.errors import EndpointError, MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.runs.publications import target_conversations
from mascing.serving.against import CANARIES, verify_against
from mascing.serving.in_force import InForce
from mascing.serving.thin_endpoint import completion, decoding
from mascing.serving.thin_endpoint.selections import Selections
from mascing.steering.steer import steer
from tests.mascing import olmoe_folder
from tests.mascing.serving.running import Running, foreign

WEAK = 0.001
"""A mask of this size moves selections of the model, and none of its greedy replies."""


def test_a_mask_that_acts_on_the_server_is_proved(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.masks["defence"].save(tmp_path / "mask.safetensors")
    refused = server.refused_requests
    assert main(["mask", "verify", str(tmp_path), "--against", server.url]) == 0
    named, asking, served, holds, changes, then = capsys.readouterr().out.splitlines()
    assert named == f"ok: {tmp_path} is the mask with digest {server.masks['defence'].digest}"
    assert asking.startswith("note: asking 4 harmless questions, since no run of the mask is in ")
    assert served == f"ok: {server.url} serves tiny"
    assert f"as defence with digest {server.masks['defence'].digest}; 4 replies say that it steered them" in holds
    assert "in each of 3 layers" in holds
    assert changes.startswith("ok: changes 4 of 4 greedy replies and ")
    assert changes.endswith(
        "; without it, 0 of 4 greedy replies and 0 selections of experts change from one time to the next"
    )
    assert then.endswith(f'"mascing_mask": "{server.masks["defence"].digest[:12]}"}}')
    assert server.refused_requests == refused


def test_the_conversations_of_the_run_are_asked(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = server.masks["defence"]
    mask.save(tmp_path / "mask.safetensors")
    (tmp_path / "card.json").write_text(json.dumps({"mask_digest": mask.digest, "data": {"prepare": "prepare/b"}}))
    targets = [olmoe_folder.conversation(name, f"question {name}") for name in "abc"]
    monkeypatch.setattr(target_conversations, "_targets", lambda storage, prefix: iter(targets))
    assert main(["mask", "verify", str(tmp_path), "--against", server.url]) == 0
    said = capsys.readouterr().out
    assert "\nok: asking 3 target conversations of the run that made the mask\n" in said
    assert "changes 3 of 3 greedy replies" in said


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
        ({"steered_tokens": {"0": 99, "2": 99}}, "0 of its [0-9]+ tokens were steered in layer 1"),
        ({"steered_tokens": {"0": 99, "1": 1, "2": 99}}, "1 of its [0-9]+ tokens were steered in layer 1"),
        ({"steered_tokens": {"0": 99, "1": -1, "2": 99}}, "do not say which mask was in force"),
        ({"selected": {"0": [9] * 8, "1": [9] * 8}}, "selections of other layers or experts"),
        ({"selected": dict.fromkeys("012", [9] * 7)}, "selections of other layers or experts"),
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


def test_a_mask_that_changes_nothing_is_not_proved(server: Running) -> None:
    weak = server.masks["defence"] * 1e-6
    nothing = "changes 0 of 4 greedy replies and 0 selections"
    with server.held_as("weak", weak), pytest.raises(SteeringError, match=nothing):
        list(verify_against(weak, server.url))


def test_a_mask_that_changes_selections_alone_is_proved(server: Running) -> None:
    weak = server.masks["defence"] * WEAK
    with server.held_as("weak", weak):
        *_, changes = verify_against(weak, server.url)
    assert re.match("changes 0 of 4 greedy replies and [1-9]", changes.said)


def test_what_changes_by_chance_too_proves_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, of_row = itertools.count(), Selections.of_row

    def drifting(selections: Selections, row: int) -> dict[int, list[int]]:
        more = next(asked) // len(CANARIES)  # plain, steered, and plain again
        return {layer: [first + more, *rest] for layer, (first, *rest) in of_row(selections, row).items()}

    monkeypatch.setattr(Selections, "of_row", drifting)
    weak = server.masks["defence"] * 1e-6
    with server.held_as("weak", weak), pytest.raises(SteeringError, match=r"and 12 selections .* and 24 selections"):
        list(verify_against(weak, server.url))


def test_forced_experts_are_forced_for_every_token(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = server.served.held.table.spec
    off_LE = torch.zeros(spec.n_layers, spec.n_experts, dtype=torch.bool)
    off_LE[:, [0, 5]] = True
    on_LE = off_LE.roll(1, dims=1)
    forcing = Mask.from_override(on_LE, off_LE, on_LE.float(), spec)
    with server.held_as("forcing", forcing):
        said = [proof.said for proof in verify_against(forcing, server.url)]
        assert "forces 6 experts on and 6 off: all tokens select those forced on, none those forced off" in said
        monkeypatch.setattr(decoding, "_steered", lambda loaded, batch: steer(loaded.model, server.masks["policy"]))
        with pytest.raises(SteeringError, match=r"expert [05] of layer 0 is forced off, and"):
            list(verify_against(forcing, server.url))


def test_a_server_that_cannot_count_is_judged_by_its_replies(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Selections, "of_row", lambda selections, row: {})
    *_, note, changes = verify_against(server.masks["defence"], server.url)
    assert not note.holds
    assert changes.said.startswith("changes 4 of 4 greedy replies")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9/v1", "http://["])
def test_a_server_that_does_not_answer_is_said(server: Running, url: str) -> None:
    with pytest.raises(EndpointError, match="no server of masks answers"):
        list(verify_against(server.masks["defence"], url))
