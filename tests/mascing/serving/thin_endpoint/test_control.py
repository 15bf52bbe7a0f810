"""The control endpoints and the metrics of a running server."""

import logging
import threading
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from mascing.serving import control, limited_reads
from mascing.serving.control import TOKEN as VARIABLE
from mascing.serving.control import is_of_this_machine
from tests.mascing.serving.running import TOKEN, Running, ask, foreign, running


def metric(server: Running, sample: str) -> float:
    """The value of a sample, written with its labels; 0 if it is not there yet."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == sample), 0.0)


def test_a_mask_is_loaded_chosen_made_the_default_and_unloaded(server: Running, tmp_path: Path) -> None:
    mask = server.masks["policy"] * 0.5
    mask.save(tmp_path / "mask.safetensors")
    before = metric(server, "mascing_swaps_total")
    told = server.control("POST", "masks", {"name": "half", "url": str(tmp_path)}).json()
    assert {"name": "half", "digest": mask.digest, "unproven": None} in told["masks"]
    assert ask(server.client, mask="half").model_extra["mascing"]["digest"] == mask.digest
    assert ask(server.client, mask=mask.digest[:12]).model_extra["mascing"]["mask"] == "half"
    assert server.control("PUT", "default", {"name": mask.digest[:8]}).json()["default"] == "half"
    assert ask(server.client).model_extra["mascing"]["mask"] == "half"
    assert metric(server, f'mascing_default_mask{{digest="{mask.digest}",mask="half"}}') == 1
    assert server.control("DELETE", "masks/half").status_code == 400
    assert server.control("PUT", "default", {"name": "none"}).json()["default"] is None
    assert metric(server, "mascing_swaps_total") == before + 2
    held = server.control("DELETE", "masks/half").json()["masks"]
    assert [entry["name"] for entry in held] == sorted(server.masks)


def test_steered_tokens_and_replies_are_counted(server: Running) -> None:
    digest = server.masks["defence"].digest
    samples = [f'mascing_replies_total{{digest="{digest}"}}', 'mascing_steered_tokens_total{layer="2"}']
    before = [metric(server, sample) for sample in samples]
    reply = ask(server.client, mask="defence").model_extra["mascing"]
    after = [metric(server, sample) for sample in samples]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, reply["steered_tokens"]["2"]]


def test_a_mask_that_cannot_be_loaded_is_refused_with_the_reason(server: Running, tmp_path: Path) -> None:
    before = metric(server, 'mascing_refusals_total{reason="control"}')
    foreign().save(tmp_path / "foreign" / "mask.safetensors")
    (tmp_path / "corrupt.safetensors").write_bytes(b"no mask")
    for name, url, said in (
        ("foreign", tmp_path / "foreign", "the mask is for 2 MoE layers"),
        ("corrupt", tmp_path / "corrupt.safetensors", "mask"),
        ("absent", tmp_path / "absent", "there is no mask at"),
        ("none", tmp_path / "foreign", "a mask cannot be named 'none'"),
    ):
        refused = server.control("POST", "masks", {"name": name, "url": str(url)})
        assert refused.status_code == 400
        assert said in refused.json()["error"]["message"]
    assert metric(server, 'mascing_refusals_total{reason="control"}') == before + 4
    assert server.control("POST", "masks", {"name": "half"}).json()["error"]["message"] == "url: Field required"
    as_text = server.control("POST", "masks", content=b'{"name": "half"}')
    assert (
        as_text.json()["error"]["message"]
        == "the body is a JSON object, with the header Content-Type: application/json"
    )
    assert server.control("DELETE", "masks/half").status_code == 400


def test_a_url_that_nothing_can_be_read_from_is_refused_with_a_reason(server: Running) -> None:
    for url, said in (
        ("x" * 3000, "File name too long"),
        ("x" * 5000, "url: String should have at most 4096 characters"),
        ("zip://x::/etc/passwd", "no mask can be read there"),
        ("http://[x", "no mask can be read"),
        ("a\0b", "there is no mask at"),
    ):
        refused = server.control("POST", "masks", {"name": "other", "url": url})
        assert refused.status_code == 400
        assert said in refused.json()["error"]["message"]
        assert len(refused.text) < 1000
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    body = b'{"name": "other", "url": "\\udc80"}'
    refused = httpx.post(f"{server.url}/mascing/masks", content=body, headers=headers)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("url: Input should be a valid string")


def test_a_load_that_hangs_is_given_up_and_the_next_one_goes_on(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    (server.masks["policy"] * 0.5).save(tmp_path / "mask.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(limited_reads, "SECONDS", 0.05)
        patch.setattr(control, "mask_at", lambda url, storage: goes_on.wait(30))
        refused = server.control("POST", "masks", {"name": "half", "url": str(tmp_path)})
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "there was no answer within 0.05 seconds"
    assert server.control("POST", "masks", {"name": "half", "url": str(tmp_path)}).status_code == 200
    assert server.control("DELETE", "masks/half").status_code == 200
    goes_on.set()


def test_what_control_did_and_refused_is_logged_without_secrets(
    server: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mascing.serving.control")
    half = server.masks["policy"] * 0.5
    half.save(tmp_path / "mask.safetensors")
    server.control("POST", "masks", {"name": "half", "url": str(tmp_path)})
    server.control("POST", "masks", {"name": "b", "url": "nothing://me:secret@host/mask?signed=secret"})
    server.control("DELETE", "masks/half")
    loaded, refused, unloaded = caplog.messages
    assert loaded == f"control: loading 'half' from '{tmp_path}' is done; its digest is {half.digest}"
    assert refused.startswith("control: loading 'b' from 'nothing://host/mask' was refused: no mask can be read from ")
    assert unloaded == "control: unloading 'half' is done"
    assert "secret" not in caplog.text


def test_the_mask_of_the_channel_that_is_followed_is_not_unloaded(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.served.held, "followed", "policy")
    refused = server.control("DELETE", "masks/policy")
    assert refused.status_code == 400
    assert "policy is the channel that this server follows" in refused.json()["error"]["message"]


def test_a_full_table_is_refused_and_the_masks_in_it_stay(server: Running, tmp_path: Path) -> None:
    for number in range(2):
        (server.masks["policy"] * (2.0 + number)).save(tmp_path / f"{number}.safetensors")
    first, second = (
        server.control("POST", "masks", {"name": f"m{number}", "url": str(tmp_path / f"{number}.safetensors")})
        for number in range(2)
    )
    assert (first.status_code, second.status_code) == (200, 400)
    assert "all 4 slots hold masks" in second.json()["error"]["message"]
    assert server.control("DELETE", "masks/m0").status_code == 200


@pytest.mark.parametrize("token", [None, "another"])
def test_without_the_token_nobody_controls(server: Running, token: str | None) -> None:
    for method, path in (("GET", "masks"), ("POST", "masks"), ("DELETE", "masks/policy"), ("PUT", "default")):
        refused = server.control(method, path, token=token)
        assert refused.status_code == 401
        assert VARIABLE in refused.json()["error"]["message"]


def test_without_a_token_of_the_server_control_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with running() as server:
        refused = server.control("GET", "masks", token="x")
        assert refused.status_code == 403
        assert f"set {VARIABLE}" in refused.json()["error"]["message"]
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{server.url}/nothing").json()["error"]["code"] == 404


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.7", False), ("elsewhere", False)],
)
def test_control_is_for_clients_of_this_machine(host: str, is_here: bool) -> None:
    assert is_of_this_machine(Request({"type": "http", "client": (host, 1)})) == is_here
