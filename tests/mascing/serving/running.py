"""A server of the thin endpoint on a tiny OLMoE, in a thread of this process."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import torch
import uvicorn

from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.serving.options import FirstMasks, ServeOptions
from mascing.serving.thin_endpoint.application import Served, application, serve_masks
from tests.mascing import olmoe_folder

TOKEN = "a-token"
MODEL = "tiny"


def masks_of(spec: RouterSpec) -> dict[str, Mask]:
    """Masks for the model, under which its greedy replies differ; under the last one they end after a token."""
    made = {}
    for seed, name in ((5, "defence"), (9, "policy"), (4, "brief")):
        torch.manual_seed(seed)
        made[name] = Mask.from_bias(4 * torch.randn(spec.n_layers, spec.n_experts), spec, {"name": name})
    return made


def foreign() -> Mask:
    spec = inspect_routers(olmoe_folder.model(num_hidden_layers=2))
    return Mask.from_bias(torch.ones(spec.n_layers, spec.n_experts), spec, {})


@dataclass(frozen=True)
class Running:
    url: str
    served: Served
    masks: Mapping[str, Mask]

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def refused_requests(self) -> float:
        """Requests that were refused and counted."""
        registry = self.served.held.metrics.registry
        return registry.get_sample_value("mascing_refusals_total", {"reason": "request"}) or 0

    def control(
        self, method: str, path: str, body: Any = None, token: str | None = TOKEN, content: bytes | None = None
    ) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.request(method, f"{self.url}/mascing/{path}", json=body, content=content, headers=headers)

    @contextmanager
    def held_as(self, name: str, mask: Mask) -> Iterator[None]:
        """The server holds this mask too."""
        asyncio.run(self.served.held.load(name, mask))
        yield
        self.served.held.unload(name)


def ask(client: openai.OpenAI, text: str = "hello", **options: Any) -> Any:
    """A greedy reply of a few tokens; ``mask``, ``tokens`` and ``selected`` are what is asked of the server."""
    xargs = {f"mascing_{name}": options.pop(name) for name in ("mask", "tokens", "selected") if name in options}
    body = options.pop("extra_body", {}) | ({"vllm_xargs": xargs} if xargs else {})
    settings = {"max_tokens": 8, "temperature": 0} | options
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], extra_body=body, **settings
    )


def options(**changes: Any) -> ServeOptions:
    settings: dict[str, Any] = {
        "model": MODEL,
        "host": "127.0.0.1",
        "port": 0,
        "masks": {},
        "default": None,
        "follow": None,
        "storage": "./none",
        "slots": 4,
    }
    return ServeOptions(**(settings | changes))


@contextmanager
def running(asked: ServeOptions | None = None, first: FirstMasks | None = None) -> Iterator[Running]:
    """A server that listens; by default it holds three masks and steers nobody who does not ask."""
    asked = asked or options()
    served = serve_masks(olmoe_folder.loaded(), asked)
    masks = masks_of(served.held.table.spec)
    follower = asyncio.run((first or FirstMasks(masks, None, None)).load(served.held))
    server = uvicorn.Server(uvicorn.Config(application(served, asked, follower), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", served, masks)
    finally:
        server.should_exit = True
        thread.join()
