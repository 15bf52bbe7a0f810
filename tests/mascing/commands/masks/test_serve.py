"""`mascing serve`: what it says, what it refuses before the model is loaded, and that Ctrl-C ends it."""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from mascing.cli import main
from mascing.commands.masks.serve import EngineName, _engine, _open_to
from mascing.engines import installed
from mascing.errors import ConfigError, MaskError, ModelError, SteeringError
from mascing.masks.mask import Mask
from mascing.masks.unproven import marked_unproven
from mascing.routers.spec import inspect_routers
from mascing.serving.control import TOKEN
from mascing.serving.vllm_plugin.front.start_failure import tell_start_failure
from mascing.serving.vllm_plugin.server import failures_told
from tests.mascing import olmoe_folder
from tests.mascing.serving.running import foreign, masks_of, options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and masks: one for it, one for another model, and one that is none."""
    folder = tmp_path_factory.mktemp("served")
    olmoe_folder.save(folder / "model")
    defence = masks_of(inspect_routers(olmoe_folder.model()))["defence"]
    defence.save(folder / "defence.safetensors")
    marked_unproven(defence, "made by hand").save(folder / "made.safetensors")
    foreign().save(folder / "foreign.safetensors")
    (folder / "corrupt.safetensors").write_bytes(b"no mask")
    return folder


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def serve(folder: Path, *arguments: str) -> int:
    return main(["serve", str(folder / "model"), "--engine", "transformers", *arguments])


def test_it_serves_until_ctrl_c(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    answers: list[httpx.Response] = []

    def ask_then_interrupt() -> None:
        url, request = f"http://127.0.0.1:{port}", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        for _ in range(600):
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        answers.append(httpx.post(f"{url}/v1/chat/completions", json=request))
        os.kill(os.getpid(), signal.SIGINT)

    client = threading.Thread(target=ask_then_interrupt)
    client.start()
    mask = folder / "defence.safetensors"
    made = f"made={folder / 'made.safetensors'}"
    given = ("--mask", f"defence={mask}", "--default", "defence", "--mask", made)
    assert serve(folder, *given, "--port", str(port)) == 0
    client.join()
    assert answers[0].json()["mascing"]["mask"] == "defence"
    printed = capsys.readouterr()
    engine, masks, unproven, control, listening, request = printed.out.splitlines()
    assert engine == f"transformers runs {folder / 'model'}: --engine says so"
    digest = Mask.load(mask).digest
    assert masks == f"masks by name: defence, made; the default: defence, {digest}"
    assert unproven == "note: made is unproven: nothing shows that it does what it should (made by hand)"
    assert control.startswith("control is off: ")
    assert f"INFO the default is defence ({digest}) now; before it was no mask\n" in printed.err
    assert listening == "listening; try:"
    assert request.startswith(f"curl http://127.0.0.1:{port}/v1/chat/completions ")
    body = json.loads(request.partition(" -d '")[2].removesuffix("'"))
    assert body["vllm_xargs"] == {"mascing_mask": "defence"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mask", "defence={}/corrupt.safetensors"], "--mask defence={}/corrupt.safetensors: not a mask"),
        (["--mask", "defence={}/absent.safetensors"], "there is no mask at {}/absent.safetensors"),
        (["--mask", "none={}/defence.safetensors"], "a mask cannot be named 'none'"),
        (["--mask", "{}/defence.safetensors"], "give NAME=URL"),
        (["--mask", "a={0}/defence.safetensors", "--mask", "a={0}/defence.safetensors"], "--mask a is given twice"),
        (["--default", "defence"], "no mask has that name"),
        (["--mask", "defence={}/foreign.safetensors", "--default", "none"], "--mask defence: the mask is for 2 MoE"),
        (["--mask", "a={}/defence.safetensors", "--default", "a", "--follow", "x@y"], "give one"),
        (["--follow", "policy@production", "--storage", "{}"], "nothing is published as policy@production"),
        (["--", "--max-model-len", "9"], "arguments after -- are for vLLM"),
        (["--engine", "vllm"], "docs/environments.md says"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    folder: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installed, "vllm_version", lambda: None)
    given = [argument.format(folder) for argument in arguments]
    assert serve(folder, "--port", str(free_port()), *given) == 1
    [error] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said.format(folder) in error


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert main(["serve", "org/absent", "--engine", "transformers", "--port", str(port)]) == 1
    assert f"nobody can listen at 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_told_by_the_name_of_the_argument(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(folder / "absent"), "--engine", "transformers", "--port", str(free_port())]) == 1
    assert f"the model folder {folder / 'absent'} does not exist: MODEL is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["uvicorn", "prometheus_client"])
def test_a_missing_package_is_told_with_its_extra(
    package: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert serve(folder) == 1
    assert f"this needs {package}, not installed here: pip install 'mascing[serve]'" in capsys.readouterr().err


def test_a_server_for_other_machines_says_who_may_do_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "a-token")
    told = list(_open_to(options(host="0.0.0.0", port=8000, control_anywhere=True)))
    assert told[0].startswith("control is on: clients of any machine change the masks by the token in MASCING_CONTROL_")
    assert told[1].startswith("note: replies need no token: whoever reaches port 8000 of 0.0.0.0")
    [control] = _open_to(options(host="::1"))
    assert "clients of this machine" in control


@pytest.mark.parametrize(("version", "taken"), [("0.32.0+cpu", EngineName.TRANSFORMERS), ("0.32.0", EngineName.VLLM)])
def test_vllm_is_taken_unless_it_is_known_not_to_load_the_model(
    version: str, taken: EngineName, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "vllm_version", lambda: version)
    model = str(folder / "model")
    chosen, why = _engine(EngineName.AUTO, model)
    assert chosen is taken
    if taken is EngineName.VLLM:
        assert why == "vLLM is installed"
        return
    assert why.startswith("vLLM is installed and cannot load it: its attention heads have size 16, and on a CPU")
    with pytest.raises(ConfigError, match=f"let transformers run it: mascing serve {model} --engine transformers$"):
        _engine(EngineName.VLLM, model)


def failing_engine() -> None:
    """What a process of vLLM does, and what its front is told."""
    log = logging.getLogger("vllm")
    tell_start_failure()
    for said, message in (("a try", "goes on"), ("No room\nfor the cache", "EngineCore failed to start.")):
        try:
            raise ValueError(said)
        except ValueError:
            log.exception(message)
    raise RuntimeError("Engine core initialization failed")


def test_the_cause_is_told_by_the_process_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("vllm")
    monkeypatch.setattr(log, "handlers", [])
    said = r"^vLLM does not serve ./m \(No room for the cache\): its log above says more"
    with pytest.raises(ModelError, match=said), failures_told("./m"):
        failing_engine()
    tell_start_failure()  # nobody wants to know
    assert len(log.handlers) == 1


def test_what_vllm_fails_with_is_told_in_a_sentence() -> None:
    said = r"vLLM does not serve ./m \(Engine core .* failed\): its log above says more"
    with pytest.raises(ModelError, match=said), failures_told("./m"):
        raise RuntimeError("Engine core initialization failed")
    said = r"start without it; or let transformers run the model: mascing serve ./m --engine transformers$"
    with pytest.raises(SteeringError, match=said), failures_told("./m"):
        raise SteeringError("start without it")
    with pytest.raises(MaskError, match=r"^not for this model$"), failures_told("./m"):
        raise MaskError("not for this model")
