from collections.abc import Iterator

import pytest

from mascing.serving.control import TOKEN as VARIABLE
from tests.mascing.serving.running import TOKEN, Running, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, TOKEN)
        with running() as server:
            yield server
