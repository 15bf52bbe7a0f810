"""The optional packages behind this room, asked for by name where one is missing."""

from importlib.util import find_spec
from typing import Literal

from mascing.errors import ConfigError

_PACKAGES = {"lm-eval": "lm_eval", "inspect": "inspect_ai"}


def require(extra: Literal["lm-eval", "inspect"]) -> None:
    """Raise ConfigError unless the package of ``extra`` is installed."""
    package = _PACKAGES[extra]
    if find_spec(package) is None:
        raise ConfigError(f"this needs {package}, which is not installed: pip install 'mascing[{extra}]'")
