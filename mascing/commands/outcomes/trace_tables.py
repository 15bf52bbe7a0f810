"""`mascing traces show | export`: look at recorded routing, and copy it for other tools."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.prose import counted, echo_prose
from mascing.schemas.conversation import Split

if TYPE_CHECKING:
    from torch import Tensor

    from mascing.runs.run_traces import RunTraces
    from mascing.schemas.settings.method_settings import Span
    from mascing.traces.shard_statistics import TraceStatistics

traces = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=(
        "Look at recorded routing, and export it for other tools.\n\n"
        "URL is a storage URL, and RUN then the name of a run, by default the latest; or URL is the folder of a run "
        "(.../runs/RUN) or of a harvest (.../harvest/NAME). In Python, mascing.traces(URL) opens the same."
    ),
)


class Format(StrEnum):
    """What `export` writes."""

    PARQUET = "parquet"
    SAFETENSORS = "safetensors"
    COUNTS = "counts"


UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="Storage URL, or folder of a run or harvest.")]
RunArgument = Annotated[str | None, typer.Argument(metavar="[RUN]", help="Name of a run under a storage URL.")]
SplitOption = Annotated[
    Split | None, typer.Option(help="Which traces of a run; by default those of train. A harvest may have no splits.")
]

_SHOWN = 4
"""Experts that are named at either end."""


@traces.command()
def show(url: UrlArgument, run: RunArgument = None, split: SplitOption = None) -> None:
    """Show what was recorded, and which experts were selected most and least.

    Says of which model the routing is, which layers, spans and columns are kept, and how many samples, tokens and bytes
    there are; then for each class its tokens, and its experts as layer/expert (the layer's depth in the model) with the
    share of its tokens that selected them. Tokens before the reply count, or those of the reply where no others were
    recorded. On a local disk, only the footers of the shards are read.

    Examples:

      mascing traces show ./mascing-data

      mascing traces show s3://bucket/mascing jailbreak-defence-olmoe-0123456789abcdef --split dev

      mascing traces show ./mascing-data/harvest/chats-0123456789abcdef
    """
    import mascing
    from mascing.commands.outcomes.tables import print_table

    opened = mascing.traces(url, run, split=split)
    statistics = opened.statistics()
    for name, value in _facts(opened, statistics):
        echo_prose(f"{name:<12} {value}")
    headings = ("class", "samples", *opened.layout.spans, "selected most", "selected least")
    print_table(headings, list(_classes(opened, statistics)))
    again = " ".join([url, *([run] if run else []), *(["--split", split] if split else [])])
    echo_prose(f"next: copy them for other tools: mascing traces export {again} --to FOLDER")


@traces.command()
def export(
    url: UrlArgument,
    run: RunArgument = None,
    *,
    to: Annotated[str, typer.Option(metavar="FOLDER", help="Folder or s3:// URL that the files are written to.")],
    form: Annotated[Format, typer.Option("--format", help="What is written.")] = Format.PARQUET,
    split: SplitOption = None,
) -> None:
    """Copy traces into a folder, for polars, numpy, torch or a spreadsheet.

    parquet copies the shards, each checked: one row for each token, one column for each layer. safetensors has one file
    for each shard: z [tokens, layers, experts], selected, offsets of the samples, labels and regions, with ids and
    groups in the metadata. counts has a CSV for each class and span, as `mascing mask from-counts` reads them.

    Every file is written whole, and none replaces another: what is there already stays, so a second run goes on where
    the first was interrupted.

    Examples:

      mascing traces export ./mascing-data --to traces

      mascing traces export s3://bucket/mascing/harvest/chats-0123456789abcdef --to tensors --format safetensors

      mascing traces export ./mascing-data --to counts --format counts
    """
    import mascing
    from mascing.runs.exported_traces import export as exported
    from mascing.storage.object_storage import Storage

    opened = mascing.traces(url, run, split=split)
    folder = Storage.open(to)
    names = list(exported(opened, folder, form.value))
    echo_prose(f"written: {counted(len(names), 'file')} in {folder.url}, from {names[0]} on")
    echo_prose(f"next: {_following(folder.url, form, names)}")


def _facts(opened: "RunTraces", statistics: "TraceStatistics") -> Iterator[tuple[str, str]]:
    spec, layout, shards = opened.spec, opened.layout, opened.sizes
    kept = {"logits": "logits and selected experts", "selected": "selected experts", "counts": "counts alone"}
    depths = ", ".join(map(str, opened.depths))
    yield "model", f"{spec.family}, {spec.n_layers} MoE layers x {spec.n_experts} experts, top-{spec.top_k}"
    yield "checkpoint", layout.checkpoint[:12] or "not recorded"
    yield "kept", f"{kept[layout.keeps]} of {counted(len(layout.layers), 'layer')} (at depth {depths})"
    yield "spans", ", ".join(layout.spans)
    if opened.split is not None:
        yield "split", opened.split
    megabytes = sum(shards.values()) / 1e6
    size = f"{megabytes:.1f} MB in {counted(len(shards), 'shard')}"
    yield "size", f"{counted(len(opened), 'sample')}, {counted(statistics.tokens, 'token')}, {size}"


def _classes(opened: "RunTraces", statistics: "TraceStatistics") -> Iterator[tuple[str, ...]]:
    """A row for each class that has samples."""
    from mascing.schemas.trace_layout import REGIONS
    from mascing.traces.shard_statistics import CLASSES

    before: Span = "question+prompt"
    span: Span = before if int(statistics.selections(before)[1].sum()) else "reply"
    selected_CLE, tokens_C = statistics.selections(span)
    columns = [REGIONS.index(region) for region in opened.layout.spans]
    for number, name in enumerate(CLASSES):
        if not int(statistics.samples_C[number]):
            continue
        tokens = [str(int(statistics.tokens_CS[number, column])) for column in columns]
        ends = _ends(selected_CLE[number] / tokens_C[number].clamp(min=1), opened.depths)
        yield name, str(int(statistics.samples_C[number])), *tokens, *ends


def _ends(rate_LE: "Tensor", depths: list[int]) -> Iterator[str]:
    """The experts that were selected most, then those selected least, with their rates."""
    for descending in (True, False):
        order = rate_LE.flatten().argsort(descending=descending, stable=True)[:_SHOWN].tolist()
        places = (divmod(place, rate_LE.shape[1]) for place in order)
        yield ", ".join(f"{depths[layer]}/{expert} {float(rate_LE[layer, expert]):.0%}" for layer, expert in places)


def _following(where: str, form: Format, names: list[str]) -> str:
    """What to do with the files."""
    if form is Format.PARQUET:
        return f'read them: polars.scan_parquet("{where}/*.parquet")'
    if form is Format.SAFETENSORS:
        return f'read them: safetensors.torch.load_file("{where}/{names[0]}")["z"]'
    sides = ("counts-positive-question.csv", "counts-negative-question.csv")
    if not set(sides) <= set(names):
        return "open them as tables"
    return (
        f"make a mask: mascing mask from-counts --with {where}/{sides[0]} --without {where}/{sides[1]} --model FOLDER "
        f"--behaviour NAME --out FOLDER --n-activated 4"
    )
