"""A run works behind a proxy that leads nowhere, without a home folder and with a long path for temporary files."""

import os
import subprocess
import sys
from pathlib import Path

FLOW = """
from prefect import flow, task

from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers.pool import Pool


def double(worker, shared, item):
    return 2 * item


@task
def work():
    with Pool(ComputeConfig(workers=1)) as pool:
        return pool.map(double, None, [1, 2, 3], lambda done, of: None)


@flow(name="doubling")
def doubling():
    return str(work())
"""
RUN = """
from mascing.commands.environment import set_defaults

set_defaults()
from mascing.commands.surroundings.readiness import ready

print(*ready(), sep="\\n")
from doubling import doubling

print(doubling())
"""


def test_a_run_reaches_its_own_servers_and_finds_folders_to_write(tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(FLOW)
    temporary = tmp_path / ("long" * 10)
    temporary.mkdir()
    proxies = ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy")
    hostile = {
        **dict.fromkeys(proxies, "http://127.0.0.1:9"),
        "HOME": "/dev/null/home",
        "TMPDIR": str(temporary),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}",
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("PREFECT_", "RAY_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=inherited | hostile, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    note, result = done.stdout.splitlines()
    assert note.startswith(f"note: the home folder cannot be written, so {temporary}")
    assert result == "[2, 4, 6]"
