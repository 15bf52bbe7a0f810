"""The house stays one to live in: small folders, and names that mean one thing."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mascing", "schemas", "tasks", "flows")
FOLDERS = (*PACKAGES, "tests")


def folders(*tops: str) -> Iterator[Path]:
    """Every folder of modules below ``tops``, links left aside."""
    for top in tops:
        for folder, names, files in os.walk(ROOT / top):
            names[:] = sorted(name for name in names if not name.startswith((".", "__")))
            if any(file.endswith(".py") for file in files):
                yield Path(folder)


def modules(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py"))


def named(*tops: str) -> list[tuple[str, Path]]:
    """Name and folder of every module that is not a package's own."""
    return [
        (name, folder) for folder in folders(*tops) for name in modules(folder) if name not in ("__init__", "__main__")
    ]


def test_the_root_of_the_library_holds_a_dozen_files_at_most() -> None:
    assert len(modules(ROOT / "mascing")) <= 12


@pytest.mark.parametrize("folder", list(folders(*FOLDERS)), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_no_folder_holds_more_than_fourteen_modules(folder: Path) -> None:
    assert len(modules(folder)) <= 14


def test_no_module_is_named_like_a_room_or_a_module_of_the_standard_library() -> None:
    rooms = {folder.name for folder in folders(*PACKAGES)}
    taken = rooms | set(sys.stdlib_module_names)
    assert [str(folder.relative_to(ROOT) / name) for name, folder in named(*PACKAGES) if name in taken] == []


@pytest.mark.parametrize("top", PACKAGES)
def test_each_of_these_words_names_one_module(top: str) -> None:
    counts = Counter(name.removesuffix("s") for name, _ in named(top))
    assert {word: counts[word] for word in ("harvest", "stage", "audit") if counts[word] > 1} == {}


def test_tests_mirror_the_rooms() -> None:
    rooms = {folder.relative_to(ROOT) for folder in folders("mascing", "tasks", "flows")}
    mirrored = {folder.relative_to(ROOT / "tests") for folder in folders("tests")}
    strangers = {folder for folder in mirrored if folder.parts and folder.parts[0] in PACKAGES} - rooms
    assert strangers <= {Path("mascing/routers/families")}  # the families' models and their expected selections
