"""`mascing traces show | export`: look at recorded routing, and copy it for other tools."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

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
        "URL is a storage URL, and RUN then the name of a run or a collection, by default the latest run, or where "
        "there is no run the latest collection; or URL is the folder of a run (.../runs/RUN) or of a harvest "
        "(.../harvest/NAME, or .../collect/NAME of `mascing harvest`). "
        "In Python, mascing.traces(URL) opens the same."
    ),
)


class Format(StrEnum):
    """What `export` writes."""

    PARQUET = "parquet"
    SAFETENSORS = "safetensors"
    COUNTS = "counts"


UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="Storage URL, or folder of a run or harvest.")]
RunArgument = Annotated[str | None, typer.Argument(metavar="[RUN]", help="Name of a run or collection under it.")]
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
    share of its tokens that selected them; and where there are both labels, the experts whose shares differ most, in
    points, positive minus negative. Tokens before the reply count, or those of the reply where no others were recorded.
    Only the footers of the shards are read.

    Examples:

      mascing traces show ./mascing-data

      mascing traces show s3://bucket/mascing jailbreak-defence-olmoe-0123456789abcdef --split dev

      mascing traces show ./mascing-data/collect/chats-0123456789abcdef
    """
    import mascing
    from mascing.commands.outcomes.tables import print_table

    opened = mascing.traces(url, run, split=split)
    statistics = opened.statistics()
    for name, value in _facts(opened, statistics):
        echo_prose(f"{name:<12} {value}")
    headings = ("class", "samples", *_spans(statistics), "selected most", "selected least")
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

      mascing traces export s3://bucket/mascing/collect/chats-0123456789abcdef --to tensors --format safetensors

      mascing traces export ./mascing-data --to counts --format counts
    """
    import mascing
    from mascing.runs.exported_traces import export as exported
    from mascing.storage.object_storage import Storage

    opened = mascing.traces(url, run, split=split)
    folder = Storage.open(to)
    written = dict(exported(opened, folder, form.value))
    for said, names in (
        ("written", [name for name in written if written[name]]),
        ("already there", [name for name in written if not written[name]]),
    ):
        if names:
            echo_prose(f"{said}: {counted(len(names), 'file')} in {folder.url}, from {names[0]} on")
    echo_prose(f"next: {_following(folder.url, form, list(written))}")


def _facts(opened: "RunTraces", statistics: "TraceStatistics") -> Iterator[tuple[str, str]]:
    spec, layout, sizes = opened.spec, opened.layout, opened.sizes
    yield "folder", opened.url
    kept = {"logits": "logits and selected experts", "selected": "selected experts", "counts": "counts alone"}
    yield "model", f"{spec.family}, {spec.n_layers} MoE layers x {spec.n_experts} experts, top-{spec.top_k}"
    yield "checkpoint", layout.checkpoint[:12] or "not recorded"
    yield "kept", f"{kept[layout.keeps]} of {counted(len(layout.layers), 'layer')} (at depth {_depths(opened.depths)})"
    yield "spans", ", ".join(_spans(statistics))
    if opened.split is not None:
        yield "split", opened.split
    size = f"{filesize.decimal(sum(sizes.values()))} in {counted(len(sizes), 'shard')}"
    yield "size", f"{counted(len(opened), 'sample')}, {counted(statistics.tokens, 'token')}, {size}"


def _depths(depths: list[int]) -> str:
    first, last = depths[0], depths[-1]
    together = len(depths) > 2 and depths == list(range(first, last + 1))
    return f"{first} to {last}" if together else ", ".join(map(str, depths))


def _spans(statistics: "TraceStatistics") -> list[str]:
    """The spans that have tokens."""
    from mascing.schemas.trace_layout import REGIONS

    tokens_S = statistics.tokens_CS.sum(dim=0).tolist()
    return [span for span, tokens in zip(REGIONS, tokens_S, strict=True) if tokens]


def _classes(opened: "RunTraces", statistics: "TraceStatistics") -> Iterator[tuple[str, ...]]:
    """A row for each class that has samples, and one for the difference of the two labels."""
    from mascing.schemas.trace_layout import REGIONS
    from mascing.traces.shard_statistics import CLASSES

    before: Span = "question+prompt"
    span: Span = before if statistics.tokens_before_the_reply else "reply"
    selected_CLE, tokens_C = statistics.selections(span)
    rates_CLE = selected_CLE / tokens_C.clamp(min=1)[:, None, None]
    columns = [REGIONS.index(region) for region in REGIONS if region in _spans(statistics)]
    for number, name in enumerate(CLASSES):
        if samples := int(statistics.samples_C[number]):
            tokens = [str(int(statistics.tokens_CS[number, column])) for column in columns]
            yield name, str(samples), *tokens, *_ends(rates_CLE[number], opened.depths, ".0%")
    if (tokens_C[:2] > 0).all():
        yield "difference", *[""] * (1 + len(columns)), *_ends(rates_CLE[1] - rates_CLE[0], opened.depths, "+.0%")


def _ends(rate_LE: "Tensor", depths: list[int], form: str) -> Iterator[str]:
    """The experts with the highest rates, then those with the lowest, as layer/expert and rate."""
    for descending in (True, False):
        order = rate_LE.flatten().argsort(descending=descending, stable=True)[:_SHOWN].tolist()
        places = (divmod(place, rate_LE.shape[1]) for place in order)
        yield ", ".join(f"{depths[layer]}/{expert} {float(rate_LE[layer, expert]):{form}}" for layer, expert in places)


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
