"""A run that would work, and ways to spoil it: its configuration, its model and its rows."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Change = Callable[[Path], Any]
"""Spoils the files of a run that would work; what it returns, if anything, are variables of the environment."""


def row(number: int, name: str = "target", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"what of bench {number}?"}]
    return {"id": f"{name}-{number}", "group_id": f"{name}-{number}", "set": name, "messages": messages} | fields


ROWS = [
    *(row(number) for number in range(160)),
    *(row(number, "utility/benches", references=["oak"]) for number in range(160)),
    *(row(number, "protected/ships") for number in range(160)),
]
CONFIG: dict[str, Any] = {
    "model": {"path": "model"},
    "behaviour": {
        "name": "benches",
        "conversations": "rows.jsonl",
        "target": {"kind": "refusal"},
        "utility": {"kind": "contains"},
        "protected": {"kind": "refusal"},
    },
    "generation": {"max_new_tokens": 16},
    "compute": {"workers": 1},
}


def write_rows(folder: Path, rows: list[Any]) -> None:
    lines = (each if isinstance(each, str) else json.dumps(each) for each in rows)
    (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines))


def write_config(folder: Path, config: Any) -> None:
    (folder / "run.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))


def configured(**fields: Any) -> Change:
    """The configuration with other fields: ``behaviour__name`` is ``behaviour.name``."""

    def change(folder: Path) -> None:
        config = json.loads(json.dumps(CONFIG))
        for path, value in fields.items():
            *parents, name = path.split("__")
            part = config
            for parent in parents:
                part = part.setdefault(parent, {})
            part[name] = value
        write_config(folder, config)

    return change


def with_rows(*rows: Any, instead: bool = False) -> Change:
    return lambda folder: write_rows(folder, [*(() if instead else ROWS), *rows])


def each_row(**fields: Any) -> Change:
    """Every row with other fields."""
    return lambda folder: write_rows(folder, [each | fields for each in ROWS])


def file(content: bytes, name: str = "rows.jsonl") -> Change:
    return lambda folder: (folder / name).write_bytes(content) and None


def in_model(name: str, content: str | None) -> Change:
    """Another file in the model folder, or none."""

    def change(folder: Path) -> None:
        (folder / "model" / name).unlink(missing_ok=True)
        if content is not None:
            (folder / "model" / name).write_text(content)

    return change


def settings(**fields: Any) -> Change:
    """Other settings of the model; null takes one away."""

    def change(folder: Path) -> None:
        given = json.loads((folder / "model" / "config.json").read_text()) | fields
        in_model("config.json", json.dumps({key: value for key, value in given.items() if value is not None}))(folder)

    return change


def all_of(*changes: Change) -> Change:
    def change(folder: Path) -> Any:
        return [each(folder) for each in changes][-1]

    return change


def dense(folder: Path) -> None:
    in_model("config.json", json.dumps({"model_type": "llama", "max_position_embeddings": 512}))(folder)


def huge_weights(folder: Path) -> None:
    """A file of 4 TiB, which takes no room on the disk."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = folder / "model" / "model.safetensors"
    path.unlink()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2**42)


def cut_weights(folder: Path) -> None:
    """A weights file of which a copy kept all but the last byte."""
    path = folder / "model" / "model.safetensors"
    weights = path.read_bytes()
    path.unlink()
    path.write_bytes(weights[:-1])


def elsewhere(folder: Path) -> None:
    """The configuration in a folder of its own, with paths from the working directory."""
    (folder / "configs").mkdir()
    (folder / "run.yaml").rename(folder / "configs" / "run.yaml")


class Case(NamedTuple):
    """A change, the words that the message must hold, and the command if it is not `mascing check run.yaml`."""

    change: Change
    words: tuple[str, ...]
    command: tuple[str, ...] = ("check", "run.yaml")


def variables(**values: str) -> Change:
    """Variables of the environment."""
    return lambda folder: values
