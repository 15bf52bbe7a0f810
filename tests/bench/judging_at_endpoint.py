"""Judging at an endpoint that fails: are all judged, is any paid twice, and how near is the endpoint's limit?

``python -m tests.bench.judging_at_endpoint --seed 0`` asks a fake endpoint, in a process of its own, for 5,000
judgements. Of its requests 10% get 429, 5% get 500, 2% hang, 1% a broken body, and 3% a message that is not the JSON
that was asked for. It takes ``--per-second`` requests a second, and whatever is above gets 429 too.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections import Counter
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from typing import Any

from mascing.engines.openai.endpoint import Endpoint
from mascing.schemas.settings.engine_settings import OpenAIEngine
from mascing.storage.object_storage import Storage
from tests.fake_endpoint import Faults, running_endpoint

FAULTS = {"refused": 0.1, "errors": 0.05, "hangs": 0.02, "broken": 0.01, "garbled": 0.03}
TIMEOUT_SECONDS = 5.0


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--per-second", type=float, default=20)
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, options.seed, options.per_second))
    server.start()
    config = OpenAIEngine(base_url=here.recv(), model="fake-judge", timeout=TIMEOUT_SECONDS)
    with TemporaryDirectory() as folder:
        endpoint = Endpoint(config, Storage.open(folder))
        began, cpu = time.monotonic(), time.process_time()
        outcomes = Counter(asyncio.run(_judged(endpoint, options.rows)))
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    here.send("end")
    seen = here.recv()
    server.join()
    rate, each = options.rows / seconds, 1000 * cpu / options.rows
    share = rate / options.per_second
    print(f"seed {options.seed}: {outcomes.total()} judged in {seconds:.0f} s, {rate:.1f}/s, {share:.0%} of the limit")
    print(f"  verdicts {dict(outcomes)}; {each:.1f} ms of CPU each")
    print(f"  requests answered: {seen['different']}, twice: {seen['twice']}, garbled: {seen['garbled']}")
    print(f"  responses of the endpoint: {seen['statuses']}")


async def _judged(endpoint: Endpoint, rows: int) -> list[str]:
    return await asyncio.gather(*(_verdict(endpoint, number) for number in range(rows)))


async def _verdict(endpoint: Endpoint, number: int) -> str:
    """The outcome that the judge's JSON says, ``unscored`` if it says none, ``wrong`` if it is another row's."""
    messages = [{"role": "user", "content": f"Is {number} even? Answer as JSON."}]
    answer = await endpoint.chat(messages, max_tokens=16, response_format={"type": "json_object"})
    try:
        outcome = str(json.loads(answer.text)["verdict"])
    except (ValueError, KeyError):
        return "unscored"
    return outcome if outcome == _truth(number) else "wrong"


def _truth(number: int) -> str:
    return "miss" if number % 2 else "hit"


def _reply(body: dict[str, Any]) -> str:
    return json.dumps({"verdict": _truth(int(body["messages"][-1]["content"].split()[1]))})


def _serve(connection: Connection, seed: int, per_second: float) -> None:
    with running_endpoint(reply=_reply, faults=Faults(**FAULTS, seed=seed), per_second=per_second, latency=0.2) as fake:
        connection.send(fake.url)
        connection.recv()
        twice = len(fake.paid_twice)
        connection.send(
            {
                "different": len(fake.answered),
                "twice": twice,
                "garbled": len(fake.garbled),
                "statuses": dict(fake.statuses),
            }
        )


if __name__ == "__main__":
    main()
