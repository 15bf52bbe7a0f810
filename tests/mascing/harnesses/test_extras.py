"""What says that an optional package is missing."""

import pytest

from mascing.errors import ConfigError
from mascing.harnesses import extras


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs lm_eval, which is not installed: pip install 'mascing\[lm-eval\]'"):
        extras.require("lm-eval")
    with pytest.raises(ConfigError, match=r"pip install 'mascing\[inspect\]'"):
        extras.require("inspect")


def test_what_is_installed_is_not_asked_for() -> None:
    extras.require("lm-eval")
    extras.require("inspect")
