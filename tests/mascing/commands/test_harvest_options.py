"""What `mascing harvest` refuses before anything is started."""

import pytest

from mascing.commands.collecting.harvest import harvest
from mascing.errors import ConfigError


@pytest.mark.parametrize("layers", ["3-1", "0-999999999", "1,", "-1", "0-3-5"])
def test_layers_that_are_no_numbers_and_no_ranges_are_refused(layers: str) -> None:
    with pytest.raises(ConfigError, match="is neither a number nor a range such as 3-7"):
        harvest("c.jsonl", model="m", layers=layers)
