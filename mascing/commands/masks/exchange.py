"""`mascing mask import | export`: masks in the formats that others publish."""

from dataclasses import replace
from enum import StrEnum
from pathlib import PurePosixPath
from shlex import quote
from typing import Annotated

import typer
from pydantic import JsonValue

from mascing.commands.options import DEFAULT_STORAGE, BehaviourOption, MaskArgument, StorageOption
from mascing.errors import ConfigError, MaskError
from mascing.prose import echo_prose


class Written(StrEnum):
    """The formats that a mask is written in."""

    JSON = "json"
    EASYSTEER = "easysteer"


class Layers(StrEnum):
    """What the layer numbers of a file count."""

    DEPTH = "depth"
    INDEX = "index"


def import_mask(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What somebody published: a path or a URL.")],
    model: Annotated[str, typer.Option(help="Folder, storage URL or hub id of the model.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder or URL for mask.safetensors and card.json.")],
    behaviour: BehaviourOption = "imported",
    layers: Annotated[
        Layers | None,
        typer.Option(help="What the file's layer numbers count, where it does not show: all layers, or MoE layers."),
    ] = None,
    bias: Annotated[
        float | None,
        typer.Option(help="Add so many logits to experts forced on, and take as many from those off: no override."),
    ] = None,
    n_activated: Annotated[int, typer.Option(min=0, help="Of a table that ranks experts: how many are on.")] = 0,
    n_deactivated: Annotated[int, typer.Option(min=0, help="Of such a table: how many are off.")] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="Of such a table: steer against its behaviour.")] = False,
) -> None:
    """Make a mask of what others publish: SteerMoE's tables, EasySteer's JSON for routers, or plain JSON.

    The format is told from the content. The file is checked against the model: its layers and experts, and what else it
    says of its model. SteerMoE publishes a table that ranks all experts, and beside it how many it forces on and off:
    give these. Its pickles are read without running what they name.

    What the mask does is not measured: it is marked unproven.

    Examples:

      mascing mask import words.json --model ./my-model --out words-mask

      mascing mask import 'activations_[allenai--OLMoE-1B-7B-0125-Instruct]_[safety].pkl' --model ./olmoe
    --n-activated 5 --out safe-mask
    """
    from mascing.masks.foreign.choice import Choice
    from mascing.masks.foreign.expert_list import placed
    from mascing.masks.foreign.table import FORMATS, recognised
    from mascing.masks.text import description
    from mascing.masks.unproven import marked_unproven
    from mascing.models.checkpoints import model_name
    from mascing.models.loading import load_model
    from mascing.routers.spec import inspect_routers
    from mascing.runs.files import CARD, MASK
    from mascing.schemas.cards.import_card import ImportCard
    from mascing.schemas.config import ModelConfig
    from mascing.storage.object_storage import Storage
    from mascing.storage.source import read_source

    source = read_source(file)
    name = PurePosixPath(file).name
    try:
        kind = recognised(source.data)
        given = FORMATS[kind].read(source.data, Choice(n_activated, n_deactivated, reverse))
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error
    folder = Storage.open(out)
    if folder.exists(MASK):
        raise ConfigError(f"there is a mask in {folder.url} already: name another folder by --out")
    config = ModelConfig(path=model)
    spec = inspect_routers(load_model(config))
    try:
        result = placed(given, spec, numbering=layers.value if layers else "unsaid", bias=bias)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error
    origin: dict[str, JsonValue] = {"format": kind, "file": name, "sha256": source.sha256, "layers": result.layers}
    mask = marked_unproven(
        replace(result.mask, provenance={"method": "import", **origin, **result.mask.provenance}),
        f"imported from {name}; what it does on this model was not measured",
    )
    card = ImportCard(model=model_name(config), behaviour=behaviour, source=origin, mask_digest=mask.digest)
    folder.create(MASK, mask.to_bytes())
    folder.create(CARD, f"{card.model_dump_json(indent=1)}\n".encode())
    typer.echo(description(mask))
    for note in (f"layers are read as {result.layers}", *result.notes):
        echo_prose(f"note: {note}")
    typer.echo(f"written: {folder.locate(MASK)} and its card")
    echo_prose(f"next: prove that it steers, then judge it: mascing mask verify {quote(out)} --model {quote(model)}")


def export_mask(
    mask: MaskArgument,
    out: Annotated[str, typer.Option(metavar="FILE", help="File or URL to write.")],
    format: Annotated[  # the option's name
        Written, typer.Option(help="json says all; easysteer is for its algorithm moe_router, and for overrides alone.")
    ] = Written.JSON,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write a mask for other tools: a list of experts as plain JSON, or EasySteer's JSON for routers.

    Layers are depths in the model. Plain JSON comes back by `mascing mask import` as the same mask.

    Example:

      mascing mask export jailbreak-defence@candidate --format easysteer --out defence.json
    """
    from mascing.masks.foreign.table import exported
    from mascing.masks.mask import Mask
    from mascing.masks.unproven import why_unproven
    from mascing.reachability import is_there, told, url_errors, write_bytes
    from mascing.runs.mask_address import mask_url

    loaded = Mask.load(mask_url(mask, storage))
    data = exported(loaded, format.value)
    try:
        if is_there(out):
            raise ConfigError(f"there is something at {out} already: name another file by --out")
        write_bytes(out, data)
    except url_errors() as error:
        raise MaskError(f"the mask cannot be written to {out}: {told(out, error)}") from error
    if (why := why_unproven(loaded)) is not None:
        echo_prose(f"note: the mask is unproven: {why}")
    typer.echo(f"written: {out}")
    echo_prose(f"next: read it back on its model: mascing mask import {quote(out)} --model FOLDER --out FOLDER")
