"""`mascing mask show | diff | compose | verify`: look at masks, compare, combine and prove them."""

from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption

mask = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=(
        "Look at masks, compare them, combine them, and prove them on their model.\n\n"
        "MASK is a file or URL of a mask.safetensors, or a published one as behaviour@channel, for instance "
        "jailbreak-defence@candidate; where several models have that behaviour, model/behaviour@channel."
    ),
)

MaskArgument = Annotated[str, typer.Argument(metavar="MASK", help="File, URL, or behaviour@channel.")]


@mask.command()
def show(mask: MaskArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show a mask's origin, its rule and its entries.

    Examples:

      mascing mask show jailbreak-defence@candidate

      mascing mask show s3://bucket/mascing/masks/jailbreak-defence-0123456789abcdef/mask.safetensors
    """
    from mascing.masks.mask import Mask
    from mascing.masks.text import description
    from mascing.runs.mask_address import mask_url

    url = mask_url(mask, storage)
    typer.echo(description(Mask.load(url)))
    typer.echo(f"next: prove it on its model: mascing mask verify {url} --model FOLDER")


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
    typer.echo(f"next: look at the whole of one: mascing mask show {second}")


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
    from mascing.masks.composition import compose as composed
    from mascing.masks.mask import Mask
    from mascing.masks.text import conflict_report
    from mascing.runs.mask_address import mask_url

    result = composed([Mask.load(mask_url(name, storage)) for name in masks])
    typer.echo(conflict_report(result, masks))
    result.mask.save(out)
    typer.echo(f"written: {out}")
    typer.echo(f"next: prove it on its model: mascing mask verify {out} --model FOLDER")


@mask.command()
def verify(
    mask: MaskArgument,
    model: Annotated[str, typer.Option(help="Folder, storage URL or hub id of the model.")],
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Prove that a mask fits its model and steers it.

    Compares the mask with the card beside it, its shape and fingerprint with the model's routers, and the model's
    output with and without it. Exits with 1 at the first thing that does not hold.

    Example:

      mascing mask verify jailbreak-defence@candidate --model ./my-model
    """
    from mascing.runs.mask_address import mask_url
    from mascing.schemas.config import ModelConfig
    from mascing.steering.verification import verify_mask

    url = mask_url(mask, storage)
    for proof in verify_mask(url, ModelConfig(path=model)):
        typer.echo(f"{'ok' if proof.holds else 'note'}: {proof.said}")
    typer.echo(f'next: steer with it: with mascing.steer(model, mascing.Mask.load("{url}")): ...')
