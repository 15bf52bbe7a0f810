"""A campaign whose driver is killed goes on to the same leaderboard, and keeps what was paid for.

The killed campaign runs as `mascing campaign` with Ray; the undisturbed one in this process, with a worker of its own.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mascing.flows.campaign import campaign
from tests.flows.coin_campaign import parts_in
from tests.tasks.here_pool import HerePool

KILL_AT = r"select: (reading|racing) "


def written(folder: Path) -> Path:
    """A campaign of two methods and two seeds on a tiny model."""
    parts = parts_in(folder)
    parts["methods"]["gradient"] = {"steps": 5, "batch_size": 8, "l1": [1e-3], "alphas": [1.0, 2.0], "search_seeds": 1}
    # With four replies to each, a coin takes one for wanted and one for unwanted nearly always.
    parts["shared"] |= {"label": {"samples": 4}, "compute": {"workers": 1}}
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(parts))
    return path


def start(path: Path, storage: Path, url: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mascing", "campaign", str(path), "--storage", str(storage), *options],
        env={**os.environ, "PREFECT_API_URL": url, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def pieces(storage: Path) -> dict[str, float]:
    """When each stored piece of replies and verdicts was written."""
    paths = [*storage.glob("replies/**/*.parquet"), *storage.glob("verdicts/**/*.parquet")]
    return {str(path.relative_to(storage)): path.stat().st_mtime_ns for path in paths}


@pytest.mark.timeout(900)
def test_a_killed_campaign_resumes_to_the_same_leaderboard(
    tmp_path: Path, prefect_url: str, prefect_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, killed, undisturbed = written(tmp_path), tmp_path / "killed", tmp_path / "undisturbed"
    process = start(path, killed, prefect_url, "--verbose")  # else a log has no such steps
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.match(KILL_AT, line):
            os.killpg(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL, "".join(lines)
    before = pieces(killed)
    assert before
    resumed = start(path, killed, prefect_url)
    said, _ = resumed.communicate()
    assert resumed.returncode == 0, said
    after = pieces(killed)
    assert {name: after[name] for name in before} == before
    assert said.splitlines()[-1] == "next: open the page"

    monkeypatch.setattr("mascing.flows.campaign.Pool", lambda *_: HerePool())
    name = campaign(str(path), str(undisturbed))
    for file in ("leaderboard.parquet", "ranking.parquet"):
        ours, theirs = (storage / "campaigns" / name / file for storage in (killed, undisturbed))
        assert ours.read_bytes() == theirs.read_bytes()
    assert pieces(undisturbed).keys() == after.keys()
