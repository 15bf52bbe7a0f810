"""Folders that cannot be written are replaced, or refused with the variable to set."""

import os
import tempfile
from pathlib import Path

import pytest

from mascing.commands.surroundings.folders import refuse_unusable_folders, replacement, use_writable_folders
from mascing.errors import MascingError

NOWHERE = "/dev/null/home"  # a file is in the way, which stops root as well


@pytest.fixture(autouse=True)
def _temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home folder that can be read and not written, for root as well."""
    home = tmp_path / "home"
    home.mkdir()
    real = os.access

    def access(path: str | Path, mode: int) -> bool:
        return real(path, mode) and not (mode & os.W_OK and Path(path).is_relative_to(home))

    monkeypatch.setattr(os, "access", access)
    return home


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "USER": "me"}
    use_writable_folders(environment)
    assert environment == {"HOME": str(tmp_path), "USER": "me"}
    assert replacement(environment) is None
    refuse_unusable_folders(environment)


@pytest.mark.parametrize("home", [NOWHERE, "~"], ids=["absent", "unknown"])
def test_an_absent_home_is_replaced_by_a_private_folder(home: str, tmp_path: Path) -> None:
    environment = {"HOME": home}
    use_writable_folders(environment)
    folder = Path(environment["HOME"])
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert replacement(environment) == str(folder)
    refuse_unusable_folders(environment)


def test_a_read_only_home_keeps_what_can_be_read_there(read_only: Path) -> None:
    (read_only / ".prefect").mkdir()
    (read_only / ".prefect" / "profiles.toml").write_text("")
    (read_only / ".cache" / "huggingface").mkdir(parents=True)
    environment = {"HOME": str(read_only)}
    use_writable_folders(environment)
    assert environment["HOME"] == str(read_only)
    assert environment["PREFECT_HOME"] == f"{replacement(environment)}/.prefect"
    assert environment["PREFECT_PROFILES_PATH"] == str(read_only / ".prefect" / "profiles.toml")
    assert "HF_HOME" not in environment  # models may be in it
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    refuse_unusable_folders(environment)


def test_a_database_of_another_user_moves_prefect_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / ".prefect" / "prefect.db"
    database.parent.mkdir()
    database.touch()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != database and real(path, mode))
    environment = {"HOME": str(tmp_path)}
    use_writable_folders(environment)
    assert Path(environment["PREFECT_HOME"]).name == ".prefect"
    assert set(environment) == {"HOME", "PREFECT_HOME"}


def test_folders_that_the_user_chose_are_not_replaced_but_refused(read_only: Path) -> None:
    environment = {"HOME": str(read_only), "PREFECT_HOME": NOWHERE, "HF_HOME": "/data"}
    use_writable_folders(environment)
    assert (environment["PREFECT_HOME"], environment["HF_HOME"]) == (NOWHERE, "/data")
    with pytest.raises(MascingError, match=rf"{NOWHERE} cannot be written .*set PREFECT_HOME"):
        refuse_unusable_folders(environment)
    refuse_unusable_folders(environment | {"PREFECT_API_URL": "http://prefect:4200/api"})


def test_a_folder_for_temporary_files_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MascingError, match="TMPDIR /dev/null/tmp is not a folder that can be written"):
        refuse_unusable_folders({"TMPDIR": "/dev/null/tmp"})

    def none_usable() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none_usable)
    environment: dict[str, str] = {"HOME": NOWHERE}
    use_writable_folders(environment)
    assert environment == {"HOME": NOWHERE}
    with pytest.raises(MascingError, match="no folder for temporary files"):
        refuse_unusable_folders(environment)


def test_a_path_too_long_for_sockets_moves_ray_or_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    environment = {"HOME": str(tmp_path), "TMPDIR": str(deep)}
    use_writable_folders(environment)
    assert len(environment["RAY_TMPDIR"]) < 40
    refuse_unusable_folders(environment)
    with pytest.raises(MascingError, match="too long for Ray's sockets: set RAY_TMPDIR"):
        refuse_unusable_folders(environment | {"RAY_TMPDIR": str(deep)})
    refuse_unusable_folders(environment | {"RAY_TMPDIR": str(deep), "RAY_ADDRESS": "head:6379"})
