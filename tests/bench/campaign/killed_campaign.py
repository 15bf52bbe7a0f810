"""A campaign on the three testbeds: 3 models x 2 behaviours x 4 methods x 2 seeds, also killed and resumed.

python -m tests.bench.campaign.killed_campaign FOLDER [--kills 3] [--groups 80]

Runs the campaign undisturbed, then again in another storage where its driver is killed (SIGKILL) at random times and
started again. Compares the bytes of leaderboard and ranking, and the replies and verdicts that the workers counted. The
testbeds are trained into FOLDER if they are not there.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mascing.testbeds.planted import build
from mascing.testbeds.planted.behaviours import BEHAVIOURS, judges

LEVELS = (1, 2, 3)
METHODS: dict[str, Any] = {
    "mascing": {"spans": ["question+prompt"], "lambdas": [0.0, 1e-3], "alphas": [1.0, 2.0, 3.0]},
    "consensus": {"shares": [0.1, 0.2], "alphas": [0.75, 1.5]},
    "steermoe": {},
    "gradient": {"search_seeds": 1, "l1": [1e-3]},
}
SHARED: dict[str, Any] = {
    "generation": {"max_new_tokens": 12, "batch_size": 128},
    "surrogate": {"members": 2},
    "robustness": {"conversations": 40, "system_prompts": [], "temperatures": [0.7]},
    # Small test splits: with these gates a mask that works passes, and the others are looked at.
    "gates": {"max_utility_loss": 0.2, "protected_tolerance": 0.2},
    "allow_unpublishable": True,
    "compute": {"workers": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--groups", type=int, default=80, help="target groups; the other sets have three quarters")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    path = written(folder, asked.groups)
    undisturbed = run(path, folder / "undisturbed", [])
    print(json.dumps({"undisturbed": undisturbed}), flush=True)
    times = random.Random(asked.seed)
    kills = [undisturbed["seconds"] * times.uniform(0.1, 0.9) / asked.kills for _ in range(asked.kills)]
    killed = run(path, folder / "killed", kills)
    print(json.dumps({"killed": killed}), flush=True)
    for name in ("leaderboard", "ranking"):
        assert killed[name] == undisturbed[name], name


def written(folder: Path, groups: int) -> Path:
    """The file of the campaign; its testbeds and conversations are made. All models get those of level 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in LEVELS:
        if not (folder / f"level-{level}").exists():
            build(0, folder / f"level-{level}", level=level)
    campaign = {
        "name": "testbeds",
        "models": {f"level-{level}": {"model": {"path": str(folder / f"level-{level}")}} for level in LEVELS},
        "behaviours": {name: {"behaviour": _behaviour(folder, name, groups)} for name in BEHAVIOURS},
        "methods": METHODS,
        "seeds": [0, 1],
        "shared": SHARED,
    }
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(campaign, sort_keys=False))
    return path


def _behaviour(folder: Path, name: str, groups: int) -> dict[str, Any]:
    source = folder / "level-1" / f"conversations-{name}.jsonl"
    conversations = folder / f"{name}.jsonl"
    conversations.write_text("".join(_first_groups(source, groups)))
    of_sets = judges(name)
    kinds = {kind: getattr(of_sets, kind).model_dump(mode="json") for kind in ("target", "utility", "protected")}
    return {"conversations": str(conversations), **kinds}


def _first_groups(source: Path, groups: int) -> list[str]:
    kept: dict[str, set[str]] = {}
    lines = []
    for line in source.read_text().splitlines(keepends=True):
        row = json.loads(line)
        own, most = kept.setdefault(row["set"], set()), groups if row["set"] == "target" else groups * 3 // 4
        if row["group_id"] in own or len(own) < most:
            own.add(row["group_id"])
            lines.append(line)
    return lines


def run(path: Path, storage: Path, kills: Sequence[float]) -> dict[str, Any]:
    """Start the campaign until it ends by itself; each of the first starts is killed after so many seconds."""
    counted, began = storage.with_suffix(".counted"), time.monotonic()
    counted.unlink(missing_ok=True)
    for seconds in (*kills, None):
        _start(path, storage, counted, seconds)
    [folder] = (storage / "campaigns").iterdir()
    notes = Counter(counted.read_text().splitlines())
    replies = {note: times for note, times in notes.items() if note.startswith("reply")}
    return {
        "seconds": round(time.monotonic() - began, 1),
        "killed after": [round(seconds, 1) for seconds in kills],
        "leaderboard": hashlib.sha256((folder / "leaderboard.parquet").read_bytes()).hexdigest(),
        "ranking": hashlib.sha256((folder / "ranking.parquet").read_bytes()).hexdigest(),
        "replies": sum(replies.values()),
        "replies generated again": sum(replies.values()) - len(replies),
        "verdicts": sum(times for note, times in notes.items() if note.startswith("verdict")),
    }


def _start(path: Path, storage: Path, counted: Path, seconds: float | None) -> None:
    here = Path(__file__).parent / "counting"
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "RAY_ADDRESS")},
        "PYTHONPATH": f"{here}{os.pathsep}{os.environ.get('PYTHONPATH', os.getcwd())}",
        "PYTHONUNBUFFERED": "1",
        "COUNTED": str(counted),
    }
    with open(storage.with_suffix(".log"), "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mascing", "campaign", str(path), "--storage", str(storage)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(10)  # its guardian ends the workers
            return
    assert status == 0, f"the campaign failed: see {storage.with_suffix('.log')}"


if __name__ == "__main__":
    main()
