"""Ray's launcher and AWS take the launcher file, and what it starts is what the manifests of Kubernetes start."""

from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[2] / "infra/launcher-aws.yaml"


def launcher() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return read


def test_ray_takes_it() -> None:
    config = prepare_config(launcher())
    validate_config(config)
    assert config["available_node_types"]["gpu_spot"]["resources"] == {"CPU": 8, "GPU": 1}


def test_an_unknown_key_is_seen() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(launcher() | {"max_worker": 8}))


@pytest.mark.parametrize("name", ["head", "gpu_spot"])
def test_aws_takes_the_settings_of_a_node(name: str) -> None:
    request = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    node = launcher()["available_node_types"][name]["node_config"]
    report = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, request)
    assert report.generate_report() == ""


def test_workers_alone_are_on_spot_and_come_with_work() -> None:
    types = launcher()["available_node_types"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu_spot"]["min_workers"] == 0 < types["gpu_spot"]["max_workers"] <= launcher()["max_workers"]
    assert types["head"]["resources"]["CPU"] == 0


def test_a_container_starts_a_shell_and_every_node_has_the_token() -> None:
    options = launcher()["docker"]["run_options"]
    assert "--entrypoint=" in options
    assert "-e RAY_AUTH_MODE=token" in options
    assert launcher()["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
