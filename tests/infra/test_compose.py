"""The compose files are valid, and their services fit together."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text())


def compose(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker" / name).read_text(encoding="utf-8"))
    return read


STACK = compose("compose.yaml")
SERVICES = STACK["services"]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_it_is_valid(name: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(compose(name))


def test_an_unknown_key_is_seen() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({"services": {"a": {"image": "b", "depend_on": ["c"]}}})


def test_who_waits_for_health_waits_for_a_service_that_tells_it() -> None:
    for service in SERVICES.values():
        depends = service.get("depends_on", {})
        assert set(depends) <= set(SERVICES)
        healthy = [name for name in depends if isinstance(depends, dict) and "healthy" in depends[name]["condition"]]
        assert [name for name in healthy if "healthcheck" not in SERVICES[name]] == []


def test_every_volume_and_every_mounted_file_is_there() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert {mount for mount in mounts if not mount.startswith(".")} == set(STACK["volumes"])
    assert [mount for mount in mounts if mount.startswith(".") and not (ROOT / "docker" / mount).exists()] == []


def test_a_volume_is_mounted_on_a_folder_that_the_image_gives_to_its_user() -> None:
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    places = [mount.split(":")[1] for s in SERVICES.values() for mount in s.get("volumes", []) if "/home/" in mount]
    assert places
    assert [place for place in places if place not in dockerfile] == []


def test_every_secret_is_asked_for_and_none_is_written() -> None:
    text = (ROOT / "docker/compose.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docker/README.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "GRAFANA_PASSWORD"}
    assert [name for name in asked if f"{name}=%s" not in page] == []
    written = re.findall(r"^\s+\w*(?:KEY|TOKEN|PASSWORD)\w*: (.*)$", text, re.MULTILINE)
    assert [value for value in written if not value.startswith("${")] == []


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_cuda_is_laid_over_every_service_of_our_image() -> None:
    ours = {name for name, service in SERVICES.items() if "build" in service}
    cuda = compose("compose.cuda.yaml")["services"]
    assert set(cuda) == ours
    assert {service["image"] for service in cuda.values()} == {"mascing:cuda"}
