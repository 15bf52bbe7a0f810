"""SteerMoE's tables: the experts that its own code steers, and pickles that are read without being run."""

import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from mascing.errors import MaskError
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import Placed, placed
from mascing.masks.foreign.frame_pickle import columns_of
from mascing.masks.foreign.steermoe_table import is_table, read, table_of
from mascing.routers.spec import RouterSpec

SPEC = RouterSpec("olmoe", (0, 1), 4, 1, "softmax-topk", "a" * 64)
TOKENS = 100


def frame(with_: tuple[tuple[int, ...], ...], without: tuple[tuple[int, ...], ...]) -> pd.DataFrame:
    """Two layers of four experts; a token selects one."""
    rows: list[dict[str, Any]] = [
        {"layer": layer, "expert": expert, "a1": a1, "d1": TOKENS - a1, "a2": a2, "d2": TOKENS - a2}
        for layer, pair in enumerate(zip(with_, without, strict=True))
        for expert, (a1, a2) in enumerate(zip(*pair, strict=True))
    ]
    table = pd.DataFrame(rows).astype({name: float for name in ("a1", "d1", "a2", "d2")})
    table["risk_diff"] = table["a1"] / TOKENS - table["a2"] / TOKENS
    table["Layer_Expert"] = [f"L{row['layer']}E{row['expert']}" for row in rows]
    return table


@pytest.fixture(autouse=True)
def texts_as_in_the_published_tables() -> Iterator[None]:
    """Pandas 3 writes texts as Arrow arrays by default; the published tables are of pandas 2."""
    with pd.option_context("future.infer_string", False):
        yield


with pd.option_context("future.infer_string", False):
    TABLE = frame(((60, 30, 5, 5), (25, 25, 25, 25)), ((10, 20, 40, 30), (30, 24, 23, 23)))


def pickled(table: object) -> bytes:
    return pickle.dumps(table)


def csv_of(table: pd.DataFrame) -> bytes:
    return str(table.to_csv(index=False)).encode()


def imported(data: bytes, choice: Choice, spec: RouterSpec = SPEC) -> Placed:
    return placed(read(data, choice), spec)


def csv_of_a_spreadsheet(table: pd.DataFrame) -> bytes:
    return b"\xef\xbb\xbf" + csv_of(table).replace(b"\n", b"\r\n")


def csv_of_a_shell(table: pd.DataFrame) -> bytes:
    return csv_of(table).decode().encode("utf-16")


@pytest.mark.parametrize("written", [pickled, csv_of, csv_of_a_spreadsheet, csv_of_a_shell])
def test_the_strongest_experts_of_either_sign_are_forced(written: Callable[[pd.DataFrame], bytes]) -> None:
    assert is_table(written(TABLE))
    mask = imported(written(TABLE), Choice(n_activated=1, n_deactivated=2)).mask
    assert mask.to_polars().select("layer", "expert", "forced").rows() == [(0, 0, "on"), (0, 2, "off"), (0, 3, "off")]
    assert float(mask.rule.tensors["priority"][0, 0]) == pytest.approx(0.5)


def test_the_other_direction_turns_the_table_around() -> None:
    mask = imported(pickled(TABLE), Choice(n_activated=1, reverse=True)).mask
    assert mask.to_polars().select("layer", "expert", "forced").rows() == [(0, 2, "on")]


def test_a_layer_that_cannot_activate_all_keeps_the_strongest_as_the_published_code_does() -> None:
    result = imported(pickled(TABLE), Choice(n_activated=2))
    assert result.mask.to_polars().select("layer", "expert").rows() == [(0, 0)]
    assert "1 of 2 experts left out" in result.notes[1]
    assert "does not say which weights" in result.notes[0]


def test_a_table_of_another_model_is_refused() -> None:
    for spec in (RouterSpec("olmoe", (0, 1, 2), 4, 1, "s"), RouterSpec("olmoe", (0, 1), 4, 2, "s")):
        with pytest.raises(MaskError, match="for another model"):
            imported(pickled(TABLE), Choice(n_activated=1), spec)


def changed(**columns: Any) -> bytes:
    return pickled(TABLE.assign(**columns))


@pytest.mark.parametrize(
    ("data", "choice", "said"),
    [
        (pickled(TABLE), Choice(), "give --n-activated"),
        (pickled(TABLE), Choice(n_activated=6), "have a positive risk difference"),
        (changed(risk_diff=0.5), Choice(n_activated=1), "the table is damaged"),
        (changed(a1=-1.0), Choice(n_activated=1), "whole numbers from 0"),
        (changed(expert=0), Choice(n_activated=1), "stands in the table twice"),
        (csv_of(TABLE.assign(a1="many")), Choice(n_activated=1), "no number"),
        (pickled(TABLE.drop(columns="d2")), Choice(n_activated=1), "no column 'd2'"),
        (pickled(TABLE.head(7)), Choice(n_activated=1), "not one for each"),
        (pickled({"layer": [1]}), Choice(n_activated=1), "holds no table, but dict"),
        (pickled(TABLE)[:-50], Choice(n_activated=1), "cannot be read as a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(data: bytes, choice: Choice, said: str) -> None:
    with pytest.raises(MaskError, match=said):
        read(data, choice)


class Payload:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def of_records() -> np.ndarray[Any, Any]:
    return np.zeros(2, dtype=[("layer", "i8")])


def test_nothing_that_a_pickle_names_is_run(tmp_path: Path) -> None:
    hostile = TABLE.assign(note=[Payload(tmp_path / "ran")] * len(TABLE))
    for data in (pickled(hostile), pickled(Payload(tmp_path / "ran"))):
        with pytest.raises(MaskError, match=r"asks for posix\.system.*it was not run"):
            columns_of(data)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("harmful", [np.float64(1.0), io.BytesIO(b""), of_records()])
def test_what_a_table_of_numbers_does_not_need_is_refused(harmful: object) -> None:
    with pytest.raises(MaskError, match=r"does not need|not of numbers|no table"):
        columns_of(pickled(harmful))


@pytest.mark.parametrize("instruction", [b"r\0\0\0\2", b"p33554432\n"])
def test_no_more_memory_is_taken_than_the_size_of_a_pickle_lets_expect(instruction: bytes) -> None:
    with pytest.raises(MaskError, match="asks for room for"):
        columns_of(b"\x80\x04N" + instruction + b".")


def test_a_list_that_is_held_many_times_over_is_not_unfolded() -> None:
    laughs: Any = ["ha"]
    for _ in range(40):
        laughs = [laughs] * 10
    named = pd.DataFrame([[1]], columns=pd.Index([laughs], dtype=object))
    with pytest.raises(MaskError, match="neither texts nor numbers"):
        table_of(pickled(named))
    with pytest.raises(MaskError, match="no column 'd2'"):
        table_of(pickled(TABLE.drop(columns="d2").assign(note=[laughs] * len(TABLE))))


def test_columns_are_those_that_pandas_reads() -> None:
    columns = columns_of(pickled(TABLE))
    assert all((columns[name] == TABLE[name].to_numpy()).all() for name in TABLE.columns if name != "Layer_Expert")
    assert set(table_of(pickled(TABLE))) == {"layer", "expert", "a1", "d1", "a2", "d2", "risk_diff"}
