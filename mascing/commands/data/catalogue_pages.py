"""`mascing behaviours`: what the catalogue holds, and all that is to be known of an entry before a run takes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.schemas.catalogue.catalogue_entry import CatalogueEntry

behaviours = typer.Typer(
    rich_markup_mode=None,
    help=(
        "List the catalogue of behaviours, or show an entry. A run takes one by `behaviour: {catalogue: NAME}` in its "
        "run.yaml. The catalogue holds no data: rows are loaded by the package `datasets` (pip install "
        "'mascing[datasets]') or from a file of yours."
    ),
)


@behaviours.callback(invoke_without_command=True)
def list_entries(context: typer.Context) -> None:
    """List the entries of the catalogue.

    Example:

      mascing behaviours
    """
    if context.invoked_subcommand is not None:
        return
    from mascing.catalogue.entries import entry, names
    from mascing.commands.outcomes.tables import print_table
    from mascing.config import read_yaml

    entries = [entry(name, read_yaml) for name in names()]
    rows = [
        (each.name, ", ".join(each.roles), each.judge.kind, _access(each), each.licence.partition(";")[0])
        for each in entries
    ]
    print_table(("entry", "can be", "judge", "rows", "licence"), rows)
    echo_prose("next: mascing behaviours show NAME")


@behaviours.command()
def show(
    named: Annotated[str, typer.Argument(metavar="NAME", help="An entry's name, or the path of one of your own.")],
) -> None:
    """Show where an entry's rows come from, how they are read and judged, and a run.yaml to start from.

    Example:

      mascing behaviours show xstest
    """
    from mascing.catalogue.entries import entry
    from mascing.config import read_yaml
    from mascing.errors import ConfigError
    from mascing.judges.calibrations.calibration import checked_judge

    found = entry(named, read_yaml)
    checked_judge(found.judge)
    if found.file and "://" not in found.file and not Path(found.file).expanduser().is_file():
        raise ConfigError(f"file: {found.file}: there is no such file (in {named})")
    for name, text in _facts(found):
        if text:
            echo_prose(f"{name:<10}  {text}")
    typer.echo(f"\n{_snippet(found, named)}")


def _access(entry: "CatalogueEntry") -> str:
    if entry.dataset is None:
        return "your file"
    return "gated" if entry.gated else "open"


def _facts(entry: "CatalogueEntry") -> Iterator[tuple[str, str]]:
    """Names and texts of all that is known; a text may be empty."""
    from mascing.catalogue.hub import HUB, address

    yield "entry", f"{entry.name}: {entry.about}" if entry.about else entry.name
    yield "page", entry.page
    yield "paper", entry.paper
    yield "licence", entry.licence
    if entry.gated and entry.dataset is not None:
        yield (
            "access",
            f"gated: accept the conditions at {HUB}/{entry.dataset.path} and set HF_TOKEN to a token of that account",
        )
    yield "rows from", address(entry.dataset) if entry.dataset else entry.file or "a file that you give"
    yield "commit", entry.commit or (f"none: {entry.unpinned}" if entry.unpinned else "")
    if entry.where:
        yield "only rows", ", ".join(f"{column} {' or '.join(values)}" for column, values in entry.where.items())
    if entry.rows:
        yield "at most", f"{entry.rows} rows, chosen by a hash of each"
    yield "columns", _flow(entry.columns)
    yield "checked", entry.checked
    yield "answers", ", ".join(entry.answers)
    yield "can be", ", ".join(entry.roles)
    yield "judge", _flow(entry.judge)
    yield "gates", ", ".join(f"{name} {limit:g}" for name, limit in entry.gates.items())
    yield "beside", ", ".join(entry.beside)
    yield "always", ", ".join(entry.guarded_by)
    yield "opt in", entry.opt_in


def _flow(value: object) -> str:
    """A part of an entry on one line, as YAML takes it, without what is left at its default."""
    import json

    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        value = {**({"kind": value.kind} if hasattr(value, "kind") else {}), **value.model_dump(exclude_unset=True)}
    if value is None or isinstance(value, str):
        return value or "told from the file"
    return json.dumps(value, ensure_ascii=False)


def _snippet(entry: "CatalogueEntry", named: str) -> str:
    """A run.yaml that takes the entry."""
    model = "model: {path: allenai/OLMoE-1B-7B-0125-Instruct, dtype: bfloat16, device: cuda}"
    if "target" not in entry.roles:
        taken = ["catalogue: harmbench", f"beside: [{named}]"]
    else:
        own = ["./my-protected-set.yaml"] if entry.opt_in else []
        taken = [
            f"catalogue: {named}",
            *(["file: my-copy.jsonl"] if entry.dataset is None and entry.file is None else []),
            *(["opt_in: true"] if entry.opt_in else []),
            f"beside: [{', '.join([*map(_near, entry.beside), *own])}]",
        ]
    behaviour = "\n".join(f"  {line}" for line in taken)
    return f"# run.yaml\n{model}\nbehaviour:\n{behaviour}\ncompute: {{workers: 1, num_gpus: 1}}"


def _near(named: str) -> str:
    """An entry as a run.yaml here would name it: the path of one's own is relative again."""
    import os

    return f"./{os.path.relpath(named)}" if os.path.isabs(named) else named
