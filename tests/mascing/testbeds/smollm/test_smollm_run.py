"""The run's configuration that is written beside the split model."""

from pathlib import Path

import yaml

from mascing.config import load_config
from mascing.testbeds.smollm.folder import run_config


def test_the_written_configuration_is_read_as_the_same(tmp_path: Path) -> None:
    """Also what is left out: an absent field would come back with its default."""
    config = run_config(tmp_path, seed=3)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    assert load_config(str(file)) == config
    assert config.methods.active is None
