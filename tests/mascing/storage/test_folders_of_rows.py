"""Folders of files of rows, as `datasets` saves them and as they lie on the hub."""

import json
import os
from pathlib import Path

import pytest

from mascing.errors import DataError
from mascing.storage.source import Source, files_of_rows, read_rows


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def names(folder: Path) -> list[str]:
    return list(files_of_rows(str(folder)))


def test_files_of_one_kind_are_read_in_order_and_others_left_aside(tmp_path: Path) -> None:
    written(tmp_path, README_dot_md="x", data__b_dot_jsonl="b", data__a_dot_jsonl="a", dataset_info_dot_json="{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.jsonl").write_text("c")
    (tmp_path / "d.jsonl.gz").write_bytes(b"d")
    assert names(tmp_path) == ["d.jsonl.gz", "data/a.jsonl", "data/b.jsonl"]


def test_a_saved_data_set_says_which_files_hold_its_rows(tmp_path: Path) -> None:
    state = json.dumps({"_data_files": [{"filename": "data-0.arrow"}, {"filename": "data-1.arrow"}]})
    written(tmp_path, dataset_dict_dot_json='{"splits": ["test", "train"]}')
    for split in ("test", "train"):
        written(tmp_path / split, state_dot_json=state, dataset_info_dot_json="{}", cache_dot_arrow="old")
    assert names(tmp_path) == [f"{split}/data-{n}.arrow" for split in ("test", "train") for n in (0, 1)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "the folder has no file of rows"),
        ({"README_dot_md": "x"}, "the folder has no file of rows"),
        ({"a_dot_csv": "a", "b_dot_parquet": "b"}, r"it holds \.csv and \.parquet files; name one of them"),
        ({"state_dot_json": "{}"}, "state.json lists no files"),
    ],
)
def test_a_folder_that_cannot_be_read_is_said(files: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(str(written(tmp_path, **files)))


def test_a_folder_is_identified_by_names_and_content_of_its_files(tmp_path: Path) -> None:
    first = read_rows(str(written(tmp_path / "1", a_dot_csv="a", b_dot_csv="b")))
    assert first.sha256 == read_rows(str(written(tmp_path / "2", a_dot_csv="a", b_dot_csv="b"))).sha256
    assert first.sha256 != read_rows(str(written(tmp_path / "3", a_dot_csv="b", b_dot_csv="a"))).sha256
    assert [file().read() for file in first.files.values()] == [b"a", b"b"]


def test_a_file_is_identified_by_its_bytes(tmp_path: Path) -> None:
    source = read_rows(str(written(tmp_path, a_dot_csv="a") / "a.csv"))
    assert source.sha256 == Source(b"a").sha256
    assert [file().read() for file in source.files.values()] == [b"a"]


def test_a_url_of_a_folder_is_read_as_a_folder_is(tmp_path: Path) -> None:
    url = f"file://{written(tmp_path, a_dot_csv='a', b_dot_csv='b')}"
    assert read_rows(url) == read_rows(str(tmp_path))
    assert read_rows(f"{url}/a.csv").sha256 == Source(b"a").sha256


def test_a_pipe_is_refused_because_it_is_read_once_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows")
    with pytest.raises(DataError, match="it is a pipe"):
        read_rows(str(tmp_path / "rows"))
