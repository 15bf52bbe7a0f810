"""What importing the library loads, and what it needs."""

import subprocess
import sys
from importlib.metadata import version
from typing import Final

import pytest

# fmt: off
PIPELINE_ONLY: Final = [
    "fsspec", "jinja2", "plotly", "polars", "prefect", "pyarrow", "ray", "rich", "s3fs", "scipy", "sklearn", "typer",
    "yaml",
]
# fmt: on

CORE: Final = [
    "mascing.circuits.control",
    "mascing.circuits.gradient.search",
    "mascing.circuits.methods",
    "mascing.circuits.steermoe.search",
    "mascing.engines.side_by_side",
    "mascing.circuits.surrogate_search.search",
    "mascing.masks.combining.composition",
    "mascing.masks.mask",
    "mascing.models.loading",
    "mascing.routers.spec",
    "mascing.steering.baking",
    "mascing.steering.steer",
    "mascing.surrogates.surrogate",
    "mascing.traces.recording",
]

# Refuses an import only where our own code asks for it: transformers probes for optional packages itself.
REFUSE: Final = """
import builtins, sys
banned, plain = set({banned!r}), builtins.__import__
def refusing(name, globals=None, locals=None, fromlist=(), level=0):
    asking = (globals or {{}}).get("__name__", "")
    if asking.partition(".")[0] == "mascing" and level == 0 and name.partition(".")[0] in banned:
        raise ImportError(f"{{asking}} needs {{name}}")
    return plain(name, globals, locals, fromlist, level)
builtins.__import__ = refusing
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_library_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'ray', 'prefect', 'pydantic'}"
    assert run(f"import sys, mascing; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


def test_the_core_needs_no_pipeline_package() -> None:
    run(REFUSE.format(banned=PIPELINE_ONLY) + "import " + ", ".join(CORE))


def test_the_refusal_that_guards_the_core_works() -> None:
    with pytest.raises(AssertionError, match=r"mascing\.schemas\.tables needs pyarrow"):
        run(REFUSE.format(banned=PIPELINE_ONLY) + "import mascing.schemas.tables")


def test_the_public_names_are_there() -> None:
    names = run("import mascing; print(all(getattr(mascing, name) for name in mascing.__all__), dir(mascing))")
    wanted = ["Mask", "RouterSpec", "__version__", "bake", "compare", "inspect_routers", "record", "steer", "traces"]
    assert names == f"True {wanted}\n"


def test_the_version_is_that_of_the_package() -> None:
    assert run("import mascing; print(mascing.__version__)") == f"{version('mascing')}\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import mascing

    with pytest.raises(AttributeError, match="no attribute 'steeer'"):
        _ = mascing.steeer
