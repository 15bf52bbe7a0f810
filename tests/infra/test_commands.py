"""Every command in infra/ and docker/ is one that its program takes."""

import click
import pytest

from tests.infra.commands import commands, refuse_unknown_options, simple_commands

ALL = list(commands())


@pytest.mark.parametrize("words", [words for _, words in ALL], ids=[f"{file}-{words[0]}" for file, words in ALL])
def test_a_program_takes_its_options(words: list[str]) -> None:
    refuse_unknown_options(words)


def test_commands_of_every_kind_are_found() -> None:
    found = {(file, *words[:2]) for file, words in ALL}
    assert {
        ("docker/compose.yaml", "ray", "start"),
        ("docker/compose.yaml", "ray", "health-check"),
        ("docker/compose.yaml", "mascing", "demo"),
        ("docker/compose.yaml", "python", "-c"),
        ("infra/kubernetes/prefect.yaml", "prefect", "worker"),
        ("infra/kubernetes/prefect.yaml", "ray", "start"),
        ("infra/kubernetes/raycluster.yaml", "ray", "stop"),
        ("infra/kubernetes/rayjob.yaml", "mascing", "run"),
        ("infra/launcher-aws.yaml", "ray", "start"),
        ("infra/launcher-aws.yaml", "ray", "up"),
        ("infra/prefect.yaml", "prefect", "deploy"),
    } <= found


def test_an_unknown_option_is_seen() -> None:
    [words] = simple_commands("exec ray start --adress=head:6379")
    with pytest.raises(click.NoSuchOption):
        refuse_unknown_options(words)
