"""The wheel, unpacked in an empty folder, is a complete MASCing."""

import os
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from mascing.storage.object_storage import Storage
from tests.mascing.report.run_on_disk import FOLDER, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the content of the built wheel, as `pip install` writes it to site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "build", "mascing-data", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", target, wheel], check=True)
    return target


def test_every_package_is_in_the_wheel(unpacked: Path) -> None:
    for package in ("flows", "schemas", "tasks"):
        assert (unpacked / "mascing" / package / "__init__.py").is_file()


def test_the_wheel_takes_one_name_at_the_top_of_site_packages(unpacked: Path) -> None:
    tops = {path.name for path in unpacked.iterdir()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"mascing", "bin"}


def test_the_command_line_runs_from_the_wheel_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    assert "demo" in said(unpacked, tmp_path, "import mascing.flows.reconfigure", "--help")


def test_the_page_of_a_run_is_built_from_the_files_of_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    write_run(Storage.open(str(tmp_path)))
    said(unpacked, tmp_path, "", "report", "--storage", str(tmp_path))
    page = (tmp_path / FOLDER.page).read_text(encoding="utf-8")
    plotly = (ROOT / "mascing/report/bundles/plotly-cartesian.min.js.gz").read_bytes()
    assert b64encode(plotly).decode() in page
    assert {path.name for path in (unpacked / "mascing/report/bundles").iterdir()} == {
        path.name for path in (ROOT / "mascing/report/bundles").iterdir()
    }


def said(unpacked: Path, folder: Path, first: str, *arguments: str) -> str:
    """What ``mascing`` of the wheel prints with these arguments in a folder, after the statement ``first``."""
    code = f"{first}\nimport mascing.cli, sys; print(mascing.__file__); sys.exit(mascing.cli.main({list(arguments)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(unpacked), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(unpacked))
    return done.stdout
