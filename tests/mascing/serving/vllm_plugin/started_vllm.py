"""vLLM's server with masks on a tiny OLMoE, in processes of its own, and clients of it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import torch

from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec, inspect_routers
from tests.mascing import olmoe_folder

TOKEN = "a-token"
SIZES = {"hidden_size": 64}
LAYERS = ("0", "1", "2")

_ENGINE_ARGS = (
    "--dtype=float32",
    "--enforce-eager",
    "--distributed-executor-backend=uni",
    "--served-model-name=tiny",
    "--max-model-len=256",
    "--max-num-seqs=32",
    "--max-num-batched-tokens=256",
    f"--kv-cache-memory-bytes={64 << 20}",
    "--uvicorn-log-level=warning",
)
_SECONDS_TO_START = 300


@dataclass(frozen=True)
class Running:
    url: str
    log: Path

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def control(self, method: str, path: str, body: Any = None, token: str | None = TOKEN) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.request(method, f"{self.url}/mascing/{path}", json=body, headers=headers, timeout=60)

    def metric(self, line: str) -> float:
        """The value of the line of /metrics that begins so; 0 if there is none."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return next((float(found.rpartition(" ")[2]) for found in lines if found.startswith(line)), 0.0)


def spec() -> RouterSpec:
    return inspect_routers(olmoe_folder.model(**SIZES))


def masks(number: int) -> list[Mask]:
    """Masks that move the model's greedy replies apart from one another."""
    routers = spec()
    sizes, generator = (routers.n_layers, routers.n_experts), torch.Generator().manual_seed(0)
    return [Mask.from_bias(4 * torch.randn(sizes, generator=generator), routers) for _ in range(number)]


def ask(client: openai.OpenAI, text: str = "hello", **options: Any) -> Any:
    """A greedy reply of a few tokens; ``mask``, ``tokens`` and ``selected`` are what is asked of the server."""
    xargs = {f"mascing_{name}": options.pop(name) for name in ("mask", "tokens", "selected") if name in options}
    body = {"ignore_eos": True} | options.pop("extra_body", {}) | ({"vllm_xargs": xargs} if xargs else {})
    settings = {"max_tokens": 12, "temperature": 0} | options
    return client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": text}], extra_body=body, **settings
    )


@contextmanager
def started(folder: Path, *options: str) -> Iterator[Running]:
    """A server that answers; afterwards it is told to stop, and must leave no process behind."""
    model = olmoe_folder.save(folder / "model", **SIZES)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    environment = os.environ | {
        "MASCING_CONTROL_TOKEN": TOKEN,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    command = [sys.executable, "-m", "mascing", "serve", str(model), f"--port={port}", *options, "--", *_ENGINE_ARGS]
    log = folder / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    running = Running(f"http://127.0.0.1:{port}", log)
    try:
        _wait(running, process)
        yield running
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(60)
        _, alive = psutil.wait_procs(family, timeout=10)
        for left in alive:
            left.kill()
    assert not alive, f"left behind: {alive}"


def _wait(running: Running, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{running.url}/health").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"the server does not answer:\n{running.log.read_text(errors='replace')[-6000:]}")
