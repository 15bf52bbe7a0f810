"""What a bad key, server or response does: nothing secret is told, nothing is paid unseen, and no good answer is lost."""

from collections.abc import Callable

import pytest

from mascing.engines.openai.endpoint import Endpoint
from mascing.errors import ConfigError
from tests.fake_endpoint import FakeEndpoint
from tests.mascing.engines.openai.asking import config_for

Start = Callable[..., FakeEndpoint]


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-ключ", "sk-\x01tab"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_told(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="MY_KEY") as refused:
        Endpoint(config_for(FakeEndpoint(url="http://127.0.0.1:9/v1"), api_key_env="MY_KEY"))
    assert "sk-" not in str(refused.value)
