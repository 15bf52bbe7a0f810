"""What a server says once it listens."""

import asyncio
import json
import shlex
import socket

import pytest

from mascing.serving.first_request import tell_listening, tell_once_listening
from tests.mascing.serving.running import options


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("box", "box")])
def test_the_request_to_try_is_one_line_with_an_address_to_ask(
    host: str, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_listening(options(host=host, port=80))
    _, request = capsys.readouterr().out.splitlines()
    assert request.startswith(f"curl http://{asked}:80/")


@pytest.mark.parametrize(("masks", "asked"), [({}, None), ({"policy": "p.safetensors"}, {"mascing_mask": "policy"})])
def test_it_asks_for_a_mask_that_has_a_name_else_for_the_default(
    masks: dict[str, str], asked: dict[str, str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_listening(options(masks=masks))
    *_, body = shlex.split(capsys.readouterr().out)
    assert json.loads(body).get("vllm_xargs") == asked


def test_a_server_that_does_not_tell_is_tried_until_it_listens(capsys: pytest.CaptureFixture[str]) -> None:
    async def late() -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        telling = asyncio.create_task(tell_once_listening(options(port=listener.getsockname()[1])))
        await asyncio.sleep(0.3)
        assert not telling.done()
        listener.listen()
        await asyncio.wait_for(telling, 10)
        listener.close()

    asyncio.run(late())
    assert capsys.readouterr().out.startswith("listening; try:\ncurl ")
