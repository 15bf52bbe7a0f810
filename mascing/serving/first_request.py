"""What a server says once it listens: a request to try, on a line of its own, so that it can be copied."""

import asyncio
import json
import shlex

from mascing.prose import echo_command, echo_prose
from mascing.serving.choice import MASK
from mascing.serving.options import ServeOptions

_SECONDS = 0.2
"""Between two tries to reach the server."""


def tell_listening(options: ServeOptions) -> None:
    """Say that the server listens, with a command that asks it for a reply under a named mask, or the default."""
    host = _host(options)
    body: dict[str, object] = {"model": options.model, "messages": [{"role": "user", "content": "Hello"}]}
    if options.masks:
        body["vllm_xargs"] = {MASK: next(iter(options.masks))}
    echo_prose("listening; try:")
    echo_command(
        f"curl http://{f'[{host}]' if ':' in host else host}:{options.port}/v1/chat/completions "
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


async def tell_once_listening(options: ServeOptions) -> None:
    """The same for a server that does not tell by itself: wait until its port takes a connection."""
    while True:
        try:
            _, writer = await asyncio.open_connection(_host(options), options.port)
        except OSError:
            await asyncio.sleep(_SECONDS)
        else:
            writer.close()
            break
    tell_listening(options)


def _host(options: ServeOptions) -> str:
    """Where the server is reached from this machine; to listen at every address is none to ask."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
