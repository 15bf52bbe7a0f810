"""A tiny model with a mask, and tasks of lm-evaluation-harness on made-up rows of their own format."""

import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest

from tests.mascing.harnesses.steered_folder import SteeredFolder, steered_folder

THEIRS = Path(lm_eval.__file__).parent / "tasks"
WORDS = ("an apple", "the sky", "fresh grass", "a crow", "old bricks", "cream", "two plums", "coal")


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
            "answerKey": "ABCD"[number * number % 4],
        }
        for number in range(24)
    ]
    return redirected(tmp_path_factory.mktemp("arc"), "arc/arc_easy.yaml", "arc_easy_of_ours", rows)


@pytest.fixture(scope="session")
def gsm8k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their `gsm8k`, on 4 problems of ours, without examples."""
    rows = [{"question": f"What is {n} and 1?", "answer": f"It is one more.\n#### {n + 1}"} for n in range(4)]
    settings = {"num_fewshot": 0, "fewshot_split": None, "generation_kwargs": {"max_gen_toks": 6, "until": ["\n"]}}
    return redirected(tmp_path_factory.mktemp("gsm8k"), "gsm8k/gsm8k.yaml", "gsm8k_of_ours", rows, **settings)


def redirected(folder: Path, theirs: str, name: str, rows: list[dict[str, Any]], **settings: Any) -> Path:
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
        **settings,
    }
    (folder / "task.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder / "task.yaml"
