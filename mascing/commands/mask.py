"""`mascing mask`: look at masks, compare, combine, prove and make them; `masks/` has those that let them travel."""

from collections.abc import Iterator
from enum import StrEnum
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.masks.exchange import export_mask, import_mask
from mascing.commands.masks.transfer import transfer
from mascing.commands.options import DEFAULT_STORAGE, BehaviourOption, MaskArgument, StorageOption
from mascing.errors import ConfigError, DataError, StorageError
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.steering.verification import Proof

mask = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=(
        "Look at masks, compare, combine and prove them, make them from counts, take them from others and give them to "
        "others, and see what they do on a sibling of their model.\n\n"
        "MASK is a file or URL of a mask.safetensors, or a published one as behaviour@channel, for instance "
        "jailbreak-defence@candidate; where several models have that behaviour, model/behaviour@channel. The mask that "
        "a run kept and did not publish is runs/RUN/unproven."
    ),
)


_ASKED = 8
"""Conversations at most that a server is asked to prove a mask."""


class Score(StrEnum):
    """What ranks the experts in `from-counts`: the paper's risk difference, or the odds ratio of the same counts."""

    RISK_DIFFERENCE = "risk_difference"
    ODDS_RATIO = "odds_ratio"


@mask.command()
def show(mask: MaskArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show a mask's origin, its rule and its entries.

    Examples:

      mascing mask show jailbreak-defence@candidate

      mascing mask show s3://bucket/mascing/masks/jailbreak-defence-0123456789abcdef/mask.safetensors

      mascing mask show runs/jailbreak-defence-olmoe-0123456789abcdef/unproven
    """
    from mascing.masks.mask import Mask
    from mascing.masks.text import description
    from mascing.runs.mask_address import mask_url

    url = mask_url(mask, storage)
    typer.echo(description(Mask.load(url)))
    echo_prose(f"next: prove it on its model: mascing mask verify {quote(url)} --model FOLDER")


@mask.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="The mask to compare with.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The mask that may have changed.")],
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show what changed from mask A to mask B.

    Provenance first, then every changed expert, layer by layer: added, removed, flipped (raised before and lowered
    now, or the other way round; on and off), stronger or weaker (for an override, its priority).

    Example:

      mascing mask diff old/mask.safetensors jailbreak-defence@candidate
    """
    from mascing.masks.mask import Mask
    from mascing.masks.text import difference
    from mascing.runs.mask_address import mask_url

    first, second = mask_url(a, storage), mask_url(b, storage)
    typer.echo(difference(Mask.load(first), Mask.load(second)))
    echo_prose(f"next: look at the whole of one: mascing mask show {quote(second)}")


@mask.command()
def compose(
    masks: Annotated[
        list[str], typer.Argument(metavar="MASK...", help="Two masks or more, of one model and one rule.")
    ],
    out: Annotated[str, typer.Option(help="File or URL that the composed mask is written to.")],
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Combine masks of several behaviours into one, and show where they contradict each other.

    Biases add up: an expert that one mask raises and another lowers is a conflict. Forced experts unite: one that is
    forced both ways is left alone, and a layer that cannot force all keeps the strongest. The composed mask is a new
    one: what it does is not the sum of what its parts do, so prove it and judge it before it serves.

    Example:

      mascing mask compose jailbreak-defence@candidate content-policy@candidate --out both.safetensors
    """
    from mascing.masks.combining.composition import compose as composed
    from mascing.masks.mask import Mask
    from mascing.masks.text import conflict_report
    from mascing.masks.unproven import why_unproven
    from mascing.runs.mask_address import mask_url

    result = composed([Mask.load(mask_url(name, storage)) for name in masks])
    typer.echo(conflict_report(result, masks))
    if (why := why_unproven(result.mask)) is not None:
        echo_prose(f"note: the composed mask is unproven, as a part of it is: {why}")
    result.mask.save(out)
    typer.echo(f"written: {out}")
    echo_prose(f"next: prove it on its model: mascing mask verify {quote(out)} --model FOLDER")


@mask.command()
def verify(
    mask: MaskArgument,
    model: Annotated[str | None, typer.Option(help="Folder, storage URL or hub id of the model.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="A running server of `mascing serve` instead of a model.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Prove that a mask fits its model and steers it, or that a running server steers by it.

    Compares the mask with the card beside it, its shape and fingerprint with the model's routers, and the model's
    output with and without it. Exits with 1 at the first thing that does not hold.

    With --against, a server is asked greedily, without the mask, with it, and without it again: its replies must say
    that this very mask steered tokens in every layer that it moves, and more of them, or of the experts that their
    tokens select, must change with it than by chance. It is asked the eight shortest target conversations (dev) of the
    run that the card names, if --storage holds that run, otherwise four harmless questions.

    Examples:

      mascing mask verify jailbreak-defence@candidate --model ./my-model

      mascing mask verify jailbreak-defence@production --against http://localhost:8000
    """
    from mascing.masks.mask import Mask
    from mascing.runs.mask_address import mask_url

    if model is not None and against is not None:
        raise typer.BadParameter("--model and --against are two proofs: give one, then the other")
    if model is None and against is None:
        raise typer.BadParameter("say what to prove the mask on: --model FOLDER, or --against URL of a running server")
    url = mask_url(mask, storage)
    proofs = _proofs(url, model) if against is None else _proofs_against(against, mask, url, storage)
    for proof in proofs:
        echo_prose(f"{'ok' if proof.holds else 'note'}: {proof.said}")
    if against is not None:
        echo_prose(f'next: requests choose it by "vllm_xargs": {{"mascing_mask": "{Mask.load(url).digest[:12]}"}}')
    if model is not None:
        echo_prose(f'next: steer with it: with mascing.steer(model, mascing.Mask.load("{url}")): ...')


def _proofs_against(server: str, address: str, url: str, storage: str) -> Iterator["Proof"]:
    from mascing.masks.mask import Mask
    from mascing.runs.publications.target_conversations import shortest_targets
    from mascing.serving.against import CANARIES, verify_against
    from mascing.steering.verification import Proof, card_beside, unproven
    from mascing.storage.object_storage import Storage

    mask, card, why = Mask.load(url), card_beside(url), f"no run of the mask is in {storage}"
    yield Proof(f"{address} is the mask with digest {mask.digest}")
    try:
        targets = shortest_targets(Storage.open_to_read(storage), card, _ASKED)
    except (DataError, StorageError) as error:  # whoever serves a mask may not read its run
        targets, why = [], f"those of its run cannot be read ({error})"
    if targets:
        yield Proof(f"asking {len(targets)} target conversations of the run that made the mask")
        yield from verify_against(mask, server, [conversation.messages for conversation in targets])
    else:
        yield Proof(f"asking {len(CANARIES)} harmless questions, since {why}", False)
        yield from verify_against(mask, server)
    yield from unproven(mask)


def _proofs(url: str, model: str | None) -> Iterator["Proof"]:
    from mascing.schemas.config import ModelConfig
    from mascing.steering.verification import verify_mask

    return verify_mask(url, ModelConfig(path=str(model)))


@mask.command()
def from_counts(
    positive: Annotated[str, typer.Option("--with", metavar="FILE", help="Counts with the behaviour.")],
    negative: Annotated[str, typer.Option("--without", metavar="FILE", help="Counts without it.")],
    model: Annotated[str, typer.Option(help="Folder, storage URL or hub id of the model.")],
    behaviour: BehaviourOption,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder or URL for mask.safetensors and card.json.")],
    n_activated: Annotated[int, typer.Option(min=0, help="Experts forced on, in the whole model.")] = 0,
    n_deactivated: Annotated[int, typer.Option(min=0, help="Experts forced off, in the whole model.")] = 0,
    score: Annotated[Score, typer.Option(help="What ranks the experts.")] = Score.RISK_DIFFERENCE,
) -> None:
    """Make a mask from counts of selections, where there are statistics and no traces.

    One file counts conversations with the behaviour, the other those without. Each is a table (CSV, Parquet, JSON) with
    a row per expert and the columns layer (depth in the model), expert, count (tokens that selected it) and tokens (all
    that the layer routed), or an .npz or .safetensors with the arrays counts [layers, experts] and tokens [layers].

    Experts that are selected more often with the behaviour are forced on, those selected less often are forced off. At
    least one of --n-activated and --n-deactivated must be above 0: with both at 0, their default, it is an error. What
    the mask does is not measured.

    Example:

      mascing mask from-counts --with refused.csv --without answered.csv --model ./my-model --behaviour defence
    --n-activated 4 --n-deactivated 2 --out defence-mask
    """
    from mascing.circuits.steermoe.count_files import read_counts
    from mascing.circuits.steermoe.from_counts import counts_card, doubt, mask_from_counts
    from mascing.masks.text import description
    from mascing.models.checkpoints import model_name
    from mascing.models.loading import load_model
    from mascing.routers.spec import inspect_routers
    from mascing.runs.files import CARD, MASK
    from mascing.schemas.config import ModelConfig
    from mascing.schemas.settings.method_settings import SteerMoEConfig
    from mascing.storage.object_storage import Storage
    from mascing.storage.source import read_source

    if n_activated == n_deactivated == 0:
        raise ConfigError("a mask of no experts does nothing: give --n-activated, --n-deactivated, or both, above 0")
    settings = SteerMoEConfig(scores=(score.value,), n_activated=(n_activated,), n_deactivated=(n_deactivated,))
    config = ModelConfig(path=model)
    files = [read_counts(url, read_source(url).data) for url in (positive, negative)]
    folder = Storage.open(out)
    if folder.exists(MASK):
        raise ConfigError(f"there is a mask in {folder.url} already: name another folder by --out")
    spec = inspect_routers(load_model(config))
    present, absent = (file.of(spec) for file in files)
    for note in filter(None, (doubt(counts, spec) for counts in (present, absent))):
        echo_prose(f"note: {note}")
    mask = mask_from_counts(present, absent, spec, settings)
    card = counts_card(mask, model_name(config), behaviour)
    folder.create(MASK, mask.to_bytes())
    folder.create(CARD, f"{card.model_dump_json(indent=1)}\n".encode())
    typer.echo(description(mask))
    if mask.entries < (asked := n_activated + n_deactivated):
        echo_prose(
            f"note: {mask.entries} of {asked} experts: no others have a score of that sign and room in their layer"
        )
    typer.echo(f"written: {folder.locate(MASK)} and its card")
    echo_prose(f"next: prove it on its model: mascing mask verify {quote(out)} --model {quote(model)}")


mask.command("import")(import_mask)
mask.command("export")(export_mask)
mask.command()(transfer)
