"""Behind a proxy, this machine is reached past it."""

import urllib.request

import pytest
from botocore.utils import should_bypass_proxies

from mascing.commands.surroundings.proxies import exempt_this_machine, proxies

DEAD = "http://127.0.0.1:9"


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "grpc_proxy"])
def test_any_proxy_exempts_this_machine(name: str) -> None:
    environment = {name: DEAD}
    exempt_this_machine(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"]
    assert environment["no_proxy"].startswith("localhost,127.0.0.1,::1")


@pytest.mark.parametrize("environment", [{}, {"http_proxy": ""}, {"no_proxy": "corp"}])
def test_without_a_proxy_nothing_changes(environment: dict[str, str]) -> None:
    before = dict(environment)
    exempt_this_machine(environment)
    assert environment == before
    assert proxies(environment) == {}


def test_the_users_entries_are_kept_in_each_variable() -> None:
    environment = {"http_proxy": DEAD, "NO_PROXY": "corp.example, 127.0.0.1", "no_grpc_proxy": "ray.example"}
    exempt_this_machine(environment)
    assert environment["NO_PROXY"].split(",")[:4] == ["corp.example", "127.0.0.1", "localhost", "::1"]
    assert environment["no_proxy"] == environment["NO_PROXY"]
    assert environment["no_grpc_proxy"].startswith("ray.example,localhost,")
    once = dict(environment)
    exempt_this_machine(environment)
    assert environment == once


def test_an_exemption_of_everything_stays_one() -> None:
    environment = {"http_proxy": DEAD, "no_proxy": "*"}
    exempt_this_machine(environment)
    assert environment["no_proxy"] == "*"


def test_clients_leave_the_proxy_out_for_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"http_proxy": DEAD}
    exempt_this_machine(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert urllib.request.proxy_bypass("127.0.0.1")
    assert should_bypass_proxies("http://localhost:8333/bucket")
    assert not should_bypass_proxies("https://s3.example.org/bucket")
