"""Nouns agree with their number; sentences are wrapped at words on a terminal, and commands and paths stay whole."""

import pytest
from typer.main import get_command

from mascing.cli import app
from mascing.prose import counted, wrapped


@pytest.mark.parametrize("width", [20, 40, 60])
def test_no_word_is_cut_and_none_is_lost(width: int) -> None:
    line = "no mask was published: of all methods, mascing did best on dev, so only its mask could be published"
    lines = wrapped(line, width).splitlines()
    assert " ".join(each.strip() for each in lines) == line
    assert all(len(each) <= max(width, 30) for each in lines)


@pytest.mark.parametrize(
    "whole",
    [
        "mascing mask show org/policy@candidate --storage s3://bucket/mascing",
        "`mascing label`",
        "/tmp/a-rather-long-folder/of-a-user/and-one-more/quarantine.parquet",
    ],
)
def test_what_is_to_be_copied_stays_on_one_line(whole: str) -> None:
    lines = wrapped(f"next: open the report, or look at this: {whole}, and then do it again", 40).splitlines()
    assert any(whole in line for line in lines)


@pytest.mark.parametrize("command", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_of_the_program_is_known_as_one(command: str) -> None:
    whole = f"mascing {command} --storage s3://bucket/mascing"
    assert whole in wrapped(f"next: open the report, or look at it with {whole}", 40).splitlines()[-1]


def test_lines_go_on_below_the_beginning_of_their_text() -> None:
    for margin in ("      -> ", "ok       torch        ", "user turns  ", "  ", ""):
        first, *others = wrapped(f"{margin}{'word ' * 20}".rstrip(), 40).splitlines()
        assert first.startswith(f"{margin}word")
        assert others
        assert all(line.startswith(f"{' ' * len(margin)}word") for line in others)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 entries"), (1, "1 entry"), (1.0, "1 entry"), (0.5, "0.5 entries"), (1_000_000, "1000000 entries")],
)
def test_a_noun_agrees_with_its_number(number: float, words: str) -> None:
    assert counted(number, "entry", "entries") == words


def test_most_plurals_end_in_s() -> None:
    assert counted(2, "row") == "2 rows"
