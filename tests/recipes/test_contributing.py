"""The recipes of CONTRIBUTING.md show the code that the neighbouring tests run."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^ *```python\n(.*?)^ *```$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("(")[0].strip())
def test_a_recipe_shows_code_that_runs(block: str) -> None:
    package = "\n".join(path.read_text() for path in (Path(__file__).parent / "my_package").glob("*.py"))
    shown = textwrap.dedent(block)
    assert shown in package or textwrap.indent(shown, "    ") in package


def test_every_recipe_shows_code() -> None:
    assert len(BLOCKS) == 8
