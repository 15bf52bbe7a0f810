"""The reader of published counters: what it reads, and that it runs nothing else."""

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.external.published import VARIABLE, clone_of, counters_of


def test_counters_of_numbers_are_read() -> None:
    counted = [Counter({np.int64(3): 7, np.int64(1): 2}), Counter()]
    assert counters_of(pickle.dumps(counted)) == [{3: 7, 1: 2}, {}]


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def test_nothing_else_is_run(tmp_path: Path) -> None:
    for harmful in (Payload(tmp_path / "ran"), Counter({Payload(tmp_path / "ran"): 1}), np.zeros(2), Path()):
        with pytest.raises(pickle.UnpicklingError, match="asks for"):
            counters_of(pickle.dumps(harmful))
    assert not (tmp_path / "ran").exists()


def test_what_is_not_at_hand_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("", str(tmp_path)):
        monkeypatch.setenv(VARIABLE, folder)
        with pytest.raises(pytest.skip.Exception, match="owner/name is not at hand"):
            clone_of("owner/name")
