"""A tiny model with a mask, and tasks of lm-evaluation-harness on made-up rows of their own format."""

import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest

from tests.mascing.harnesses.steered_folder import SteeredFolder, steered_folder

THEIRS = Path(lm_eval.__file__).parent / "tasks"
WORDS = ("plum", "coal", "milk", "rose", "sand", "wine", "moss", "lime")


@pytest.fixture(scope="session")
def steered_files(tmp_path_factory: pytest.TempPathFactory) -> SteeredFolder:
    return steered_folder(tmp_path_factory.mktemp("steered"))


@pytest.fixture(scope="session")
def arc_easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their `arc_easy`, on 24 questions of ours: four to a passage, and each with its own four choices."""
    rows = [
        {
            "id": f"q{number}",
            "passage": f"p{number // 4}",
            "question": f"Which thing of room {number} is red?",
            "choices": {
                "text": [WORDS[(number + 3 * place) % len(WORDS)] for place in range(4)],
                "label": list("ABCD"),
            },
            "answerKey": "ABCD"[number % 4],
        }
        for number in range(24)
    ]
    return redirected(tmp_path_factory.mktemp("arc"), "arc/arc_easy.yaml", "arc_easy_of_ours", rows)


def redirected(folder: Path, theirs: str, name: str, rows: list[dict[str, Any]]) -> Path:
    """A task file that takes everything from one of theirs but the rows."""
    data = folder / "rows.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = {
        "include": str(THEIRS / theirs),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": None,
    }
    (folder / "task.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder / "task.yaml"
