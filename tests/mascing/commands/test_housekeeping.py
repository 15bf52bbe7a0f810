"""`mascing storage verify` and `gc` on the command line."""

import os
import re
from pathlib import Path

import pytest

from mascing.cli import main
from mascing.storage.object_storage import Storage
from tests.mascing.runs.test_garbage import DAY, FINISHED, GARBAGE, NEEDED, fill


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A filled storage of which everything was written two days ago."""
    fill(Storage.open(str(tmp_path)))
    for path in tmp_path.rglob("*"):
        os.utime(path, (path.stat().st_mtime - 2 * DAY.total_seconds(),) * 2)
    return str(tmp_path)


def test_what_is_whole_is_said_to_be(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("runs/r/result.json", "registry/m/b/candidate.json"):  # tables, as the other objects
        Path(url, name).unlink()
    assert main(["storage", "verify", "--storage", url]) == 0
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"8 objects checked, \d\.\d KiB; 2 more carry nothing to check", out[-2])
    assert out[-1] == f"next: see what no finished run needs: mascing storage gc --storage {url}"
    assert "verify: 8/8" in out


def test_damage_is_told_by_name_and_fails(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    shard = Path(url, FINISHED, "a.parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert main(["storage", "verify", "--storage", url]) == 1
    damaged = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged")]
    assert [line for line in damaged if f"{shard} is missing or damaged" in line]


def test_garbage_is_listed_and_then_deleted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", "gc", "--storage", url]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["folder", "why", "objects", "size"]
    assert [line.split()[0] for line in out[1:5]] == [FINISHED, "replies", "traces", "train/small-1"]
    assert out[5].startswith("listed 5 objects, ")
    assert re.match(r"of these, 4 objects, .*, may be work of a run or collection that was stopped: the same ", out[6])
    delete = f"mascing storage gc --delete --storage {url}"
    assert out[-1] == f"next: start again what was stopped, then delete what is left: {delete}"
    assert set(Storage.open(url).list()) == NEEDED | GARBAGE.keys()

    assert main(["storage", "gc", "--delete", "--storage", url]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("deleted 5 objects, ")
    assert set(Storage.open(url).list()) - {"leases/gc.json"} == NEEDED

    assert main(["storage", "gc", "--storage", url]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == ["nothing to delete that is older than 1 day", f"next: mascing runs --storage {url}"]


def test_what_no_run_goes_on_from_is_to_be_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Storage.open(str(tmp_path))
    (tmp_path / ".tmp-of-a-killed-writer").write_bytes(b"half a sha")
    assert main(["storage", "gc", "--older-than", "0", "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == [
        "listed 1 object, 10 bytes; nothing was deleted",
        f"next: delete them: mascing storage gc --delete --older-than 0 --storage {tmp_path}",
    ]


@pytest.mark.parametrize("command", [["verify"], ["gc"], ["gc", "--delete"]])
def test_a_mistyped_storage_is_an_error_and_is_not_made(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typo = tmp_path / "typo"
    assert main(["storage", *command, "--storage", str(typo)]) == 1
    assert capsys.readouterr().err.startswith(f"error: nothing is stored under {typo}: name with --storage where runs")
    assert not typo.exists()


def test_a_storage_of_which_all_was_deleted_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Storage.open(str(tmp_path))
    assert main(["storage", "gc", "--storage", str(tmp_path)]) == 0
    assert "nothing to delete" in capsys.readouterr().out
