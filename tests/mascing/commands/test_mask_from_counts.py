"""`mascing mask from-counts` on a tiny model: what it writes, and what it says before the model is loaded."""

import csv
import json
from pathlib import Path

import pytest

from mascing.cli import main
from mascing.masks.mask import Mask
from mascing.schemas.cards.counts_card import CountsCard
from tests.mascing import olmoe_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(olmoe_folder.save(tmp_path_factory.mktemp("model")))


def counts(path: Path, selections: tuple[int, ...]) -> str:
    """Write the same counts for each of three layers, of 100 tokens."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "expert", "count", "tokens"])
        writer.writerows([layer, expert, count, 100] for layer in range(3) for expert, count in enumerate(selections))
    return str(path)


@pytest.fixture
def options(tmp_path: Path, model: str) -> list[str]:
    with_, without = (
        counts(tmp_path / f"{name}.csv", selections)
        for name, selections in (("with", (60, 40, *[20, 20, 20, 20, 10, 10])), ("without", (25,) * 8))
    )
    return ["mask", "from-counts", "--with", with_, "--without", without, "--behaviour", "defence", "--model", model]


def test_the_mask_of_counts_stands_beside_its_card_and_is_proved(
    options: list[str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main([*options, "--n-activated", "3", "--n-deactivated", "2", "--out", out]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"mascing mask verify {out} --model {model}")
    mask = Mask.load(f"{out}/mask.safetensors")
    forced = [(row["layer"], row["expert"], row["forced"]) for row in mask.provenance["experts"]]
    assert forced == [(0, 0, "on"), (0, 6, "off"), (0, 7, "off"), (1, 0, "on"), (2, 0, "on")]
    card = CountsCard.model_validate_json(Path(out, "card.json").read_bytes())
    assert (card.behaviour, card.mask_digest) == ("defence", mask.digest)
    assert main(["mask", "verify", out, "--model", model]) == 0
    assert "ok: is the mask on its card: steermoe for defence" in capsys.readouterr().out


def test_experts_that_are_not_there_to_choose_are_noted(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--n-activated", "7", "--score", "odds_ratio", "--out", str(tmp_path / "out")]) == 0
    assert "note: 6 of 7 experts" in capsys.readouterr().out


def test_a_mask_is_not_overwritten(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mask.safetensors").write_text("of somebody else")
    assert main([*options, "--n-activated", "1", "--out", str(tmp_path / "out")]) == 1
    assert "name another folder by --out" in capsys.readouterr().err
    assert (tmp_path / "out" / "mask.safetensors").read_text() == "of somebody else"


def test_a_mask_of_none_is_refused(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "--out", str(tmp_path / "out")]) == 1
    assert "give --n-activated, --n-deactivated, or both, above 0" in capsys.readouterr().err


def test_a_bad_file_is_told_without_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.json").write_text(json.dumps([{"layer": 0, "expert": 0, "count": 0.1, "tokens": 5}]))
    path, out = str(tmp_path / "c.json"), tmp_path / "out"
    arguments = ["--with", path, "--without", path, "--behaviour", "b", "--n-activated", "1", "--out", str(out)]
    assert main(["mask", "from-counts", *arguments, "--model", str(tmp_path / "nowhere")]) == 1
    assert "c.json, row 1: count is 0.1" in capsys.readouterr().err
    assert not out.exists()
