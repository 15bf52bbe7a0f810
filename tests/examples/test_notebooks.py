"""The notebooks of `examples/` run from a folder that holds the testbed, and show what their text says."""

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from mascing.storage.object_storage import Storage
from tests.mascing.runs.stored_traces import write_traces

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


@pytest.fixture(scope="module")
def folder(testbed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks run; the testbed is there already, and so is a run's storage."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "testbed").symlink_to(testbed_folder)
    write_traces(Storage.open(str(folder / "mascing-data")))
    return folder


def ran(name: str, folder: Path) -> Any:
    """The notebook with the outputs of a run in ``folder``."""
    book = nbformat.read(EXAMPLES / name, as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return book


def shown(book: Any) -> str:
    """All that the cells printed or displayed, as text."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def pictures(book: Any) -> list[str]:
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def test_there_are_three() -> None:
    assert NAMES == ["01_record_and_look.ipynb", "02_find_and_steer.ipynb", "03_serve_and_compare.ipynb"]


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_stored_without_outputs(name: str) -> None:
    book = nbformat.read(EXAMPLES / name, as_version=4)
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_record_and_look(folder: Path) -> None:
    book = ran(NAMES[0], folder)
    said = shown(book)
    assert "family='olmoe', layer_ids=(0, 1, 2, 3), n_experts=16, top_k=2" in said
    assert "logits   [B, T, L, E] [1, " in said
    assert "selected [B, T, L, K] [1, " in said
    assert "RunTraces(" in said
    assert any("Map of the mask" in picture for picture in pictures(book))


def test_find_and_steer(folder: Path) -> None:
    said = shown(ran(NAMES[1], folder))
    lines = [line.split() for line in said.splitlines() if "% refused, steered by layer" in line]
    numbers = {words[0]: int(words[1].rstrip("%")) for words in lines}
    refused, control = (int(part.split()[-1]) for part in said.split("refused with the mask")[1].split("%")[:2])
    assert refused >= 50 > control + 30
    assert "benign replies changed: 0 of 60" in said
    assert numbers["all"] == refused
    assert numbers["prompt"] >= 50 > numbers["reply"]
    assert said.rstrip().endswith("True")


def test_serve_and_compare(folder: Path) -> None:
    book = ran(NAMES[2], folder)
    said = shown(book)
    assert "['sorry i can not help'," in said
    assert "olmoe has no parameter that can hold this mask" in said
    assert "'exact'" in said
    far = float(said.rsplit("against unsteered: ", 1)[1])
    close = float(said.rsplit("baked against steered: ", 1)[1].split(",")[0])
    assert close < 1e-5 < 1e-2 < far
    assert (folder / "defence.safetensors").exists()
    assert not (folder / "baked-olmoe").exists()
    assert not (folder / "baked-gpt-oss").exists()  # where it lay, a second run was refused
    assert any("<th" in picture and "before" in picture for picture in pictures(book))
