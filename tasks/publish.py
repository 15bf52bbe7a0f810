"""The publish stage: the winner's mask with its card, committed, and the channel `candidate` moved to it."""

from pathlib import PurePosixPath

from mascing.runs import registry
from mascing.schemas.config import ModelConfig, RunConfig
from mascing.schemas.manifest import Manifest
from mascing.schemas.mask_card import MaskCard
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.gate import baseline_from, results_from
from mascing.tasks.running.stage import Body, StageRun, run_stage
from mascing.tasks.selecting import selected_of

CHANNEL = "candidate"


def publish(
    storage: Storage, config: RunConfig, prepared: Manifest, harvested: Manifest, selected: Manifest, gated: Manifest
) -> StageRun:
    """``masks/<behaviour>-<fingerprint>/`` with ``mask.safetensors`` and ``card.json``, if a method passed its gates.

    Facts: ``winner`` and the ``masks`` prefix, both None where no method passed; then nothing is published.
    """
    return run_stage(
        storage,
        "publish",
        config.behaviour.name,
        identity={"model": model_name(config.model), "channel": CHANNEL},
        inputs={"prepare": prepared, "harvest": harvested, "select": selected, "gate": gated},
        body=lambda output: _publish(output, storage, config, harvested, selected, gated),
    )


def model_name(model: ModelConfig) -> str:
    """The name that results and channels know a model by: a hub id as it is, a folder or URL by its last part."""
    path = model.path.rstrip("/")
    is_place = "://" in path or path.startswith((".", "/", "~")) or path.count("/") > 1
    return PurePosixPath(path).name if is_place else path


def _publish(
    output: StageOutput,
    storage: Storage,
    config: RunConfig,
    harvested: Manifest,
    selected: Manifest,
    gated: Manifest,
) -> Body:
    winner: str | None = gated.facts["winner"]
    if winner is None:
        return Body([], rows_in=0, facts={"winner": None, "masks": None})
    mask = selected_of(storage, selected)[winner].mask
    result = results_from(gated)[winner]
    card = MaskCard(
        model=model_name(config.model),
        model_fingerprint=mask.spec.fingerprint,
        behaviour=config.behaviour.name,
        method=winner,
        selected=result.selected,
        data={**gated.inputs, "gate": gated.prefix, "checkpoint": harvested.facts["checkpoint"]},
        baseline=baseline_from(gated),
        result=result,
        labels=gated.facts["labels"],
        robustness=gated.facts["robustness"].get(winner, {}),
        gates={**config.gates.model_dump(), "robustness": config.robustness.model_dump()},
        mask_digest=mask.digest,
    )
    masks = StageOutput(storage, "masks", config.behaviour.name, fingerprint({"mask": mask.digest, "card": card}))
    shards = [
        masks.put("mask.safetensors", mask.to_bytes(), rows=1),
        masks.put("card.json", f"{card.model_dump_json(indent=1)}\n".encode(), rows=0),
    ]
    committed = masks.commit(shards, rows_in=1, inputs={"gate": gated.prefix})
    registry.publish(storage, card.model, config.behaviour.name, committed.prefix, CHANNEL)
    return Body([], rows_in=0, facts={"winner": winner, "masks": committed.prefix})
