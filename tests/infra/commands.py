"""The commands in the files of infra/ and docker/, and whether their programs take them as they stand."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_KEYS = ("command", "entrypoint", "args", "test")
_SHELLS = (["bash", "-c"], ["sh", "-c"])


def commands() -> Iterator[tuple[str, list[str]]]:
    """File and words of every command that a file of infra/ or docker/ runs."""
    for file in ("docker/compose.yaml", *(str(path.relative_to(ROOT)) for path in _manifests())):
        for document in yaml.safe_load_all((ROOT / file).read_text(encoding="utf-8")):
            for words in _within(document):
                yield from ((file, command) for command in _unpacked(words))
    launcher = yaml.safe_load((ROOT / "infra/launcher-aws.yaml").read_text(encoding="utf-8"))
    for key in ("initialization_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for line in launcher[key]:
            yield from (("infra/launcher-aws.yaml", command) for command in simple_commands(line))
    for file in ("infra/prefect.yaml", "infra/launcher-aws.yaml"):
        for line in re.findall(r"^# {2,}((?:prefect|ray) .*)$", (ROOT / file).read_text(encoding="utf-8"), re.M):
            yield from ((file, command) for command in simple_commands(line))


def refuse_unknown_options(words: list[str]) -> None:
    """Let the program parse the words, without doing anything. Raises its own error for what it does not know."""
    program, *arguments = words
    if program == "ray":
        _parsed_by_click(_ray(), arguments)
    elif program == "mascing":
        from typer.main import get_command

        from mascing.cli import app

        _parsed_by_click(get_command(app), arguments)
    elif program == "prefect":
        from prefect.cli._app import _app

        _app.parse_args(arguments, exit_on_error=False, print_error=False)
    elif words[:2] == ["python", "-c"]:
        compile(words[2], "<command>", "exec")
    else:
        assert program in ("aws", "docker", "server", "wget"), f"{program} is in no image of ours"


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a shell's line, which bash must be able to read."""
    subprocess.run(["bash", "-n", "-c", line], check=True)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token not in ("&&", ";", "|"):
            words.append(token)
        elif words:
            yield words[words[0] == "exec" :]
            words = []


def _manifests() -> list[Path]:
    return sorted((ROOT / "infra/kubernetes").glob("*.yaml"))


def _within(value: Any) -> Iterator[list[str]]:
    """The words of every program that starts, at any depth: its entry point or command, and what follows it."""
    if isinstance(value, list):
        for item in value:
            yield from _within(item)
    if not isinstance(value, dict):
        return
    test = [word for word in value.get("test", []) if word != "CMD"]
    parts = [value.get(key, []) for key in ("entrypoint", "command", "args")]
    start = [word for part in parts if not isinstance(part, dict) for word in _words(part)]  # `args` of a build is one
    yield from (words for words in (start, test) if words)
    for key, item in value.items():
        if key not in _KEYS and not key.startswith("x-"):
            yield from _within(item)


def _words(value: str | list[str]) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else value


def _unpacked(words: list[str]) -> Iterator[list[str]]:
    """The commands of a shell's line, or the command itself."""
    if words[:2] in _SHELLS:
        yield from simple_commands(words[2])
    else:
        yield words


def _ray() -> Any:
    from ray.scripts.scripts import cli

    return cli


def _parsed_by_click(group: Any, arguments: list[str]) -> None:
    """Follow the names of commands, then parse the options of the last."""
    while hasattr(group, "commands"):
        name, *arguments = arguments
        group = group.commands[name]
    group.make_context(group.name, list(arguments))
