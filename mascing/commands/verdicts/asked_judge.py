"""The judge that the options of a command name."""

from pathlib import Path
from typing import TYPE_CHECKING

from mascing.errors import ConfigError

if TYPE_CHECKING:
    from mascing.schemas.settings.judge_settings import JudgeConfig


def judge_config(kind: str, options: str) -> "JudgeConfig":
    """The judge's settings, checked. Raises ConfigError."""
    from pydantic import ValidationError

    from mascing.judges.calibrations.calibration import checked_judge
    from mascing.schemas.base import Frozen
    from mascing.schemas.settings.judge_settings import JudgeConfig
    from mascing.strict_yaml import parse_yaml
    from mascing.validation import complaints

    class Asked(Frozen):
        judge: JudgeConfig

    if options.endswith((".yaml", ".yml")) and not Path(options).is_file():
        raise ConfigError(f"--judge-config: {options}: there is no such file")
    text = Path(options).read_text(encoding="utf-8") if options and Path(options).is_file() else options
    given = parse_yaml(text, "--judge-config") if text.strip() else {}
    if not isinstance(given, dict):
        raise ConfigError("--judge-config must hold options by name, as in 'phrases: [\"No way\"]'")
    try:
        return checked_judge(Asked.model_validate({"judge": {**given, "kind": kind}}).judge)
    except ValidationError as error:
        raise ConfigError(f"--judge-config: {'; '.join(complaints(error, Asked))}") from error
