"""The publish stage commits the winner's mask with its card and moves the channel `candidate` to it."""

from mascing.masks.mask import Mask
from mascing.models.checkpoint_names import NamedCheckpoint, named_checkpoint
from mascing.models.checkpoints import model_name
from mascing.progress import Event, tell
from mascing.runs import registry
from mascing.runs.files import CARD, MASK, PROBES, traces_prefix
from mascing.runs.readers import selected_of, traces_of
from mascing.runs.run_folder import run_folder
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.cards.routing_rates import RoutingRates
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import MaskFacts, PublishFacts
from mascing.schemas.finished import Gated, Harvested, MaskStored, Prepared, Published, Selected
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.running.stage import Body, Finished, Placed, Recipe, run_stage
from mascing.traces.probes import Probes


def publish(
    storage: Storage, config: RunConfig, prepared: Prepared, harvested: Harvested, selected: Selected, gated: Gated
) -> Finished[Published]:
    """Write the mask, its card and its probes to ``masks/<behaviour>-<fingerprint>/`` if a method passed its gates."""

    def body(_: object) -> Body:
        winner = gated.facts.winner
        if winner is None:
            return Body([], PublishFacts(winner=None, masks=None), rows_in=0)
        mask = selected_of(storage, selected)[winner].mask
        probes = _probes(storage, harvested)
        routing = probes.rates(harvested.facts.spec) if probes else None
        stored = _store(storage, mask, mask_card(config, harvested, gated, winner, mask, routing), probes)
        return Body([], PublishFacts(winner=winner, masks=stored.prefix), rows_in=0)

    finished = run_stage(storage, recipe(config, prepared, harvested, selected, gated), body)
    # Also where the stage was done already: meanwhile another run may have moved the channel elsewhere.
    if finished.manifest.facts.masks is not None:
        checkpoint = named_checkpoint(config.model, harvested.facts.checkpoint)
        run = run_folder(config.behaviour.name, model_name(config.model), finished.manifest.fingerprint).name
        _move_channel(storage, checkpoint, config.behaviour.name, finished.manifest.facts.masks, run)
    return finished


def recipe(
    config: RunConfig, prepared: Placed, harvested: Placed, selected: Placed, gated: Placed
) -> Recipe[Published]:
    """The recipe that identifies a publication."""
    identity = {"model": model_name(config.model), "channel": registry.CANDIDATE}
    inputs = {"prepare": prepared, "harvest": harvested, "select": selected, "gate": gated}
    return Recipe(Published, config.behaviour.name, identity, inputs)


def _move_channel(storage: Storage, checkpoint: NamedCheckpoint, behaviour: str, mask_prefix: str, run: str) -> None:
    """Point the channel at the mask of ``run``, and say so if it held another one."""
    before = registry.current(storage, checkpoint, behaviour)
    moved = registry.publish(storage, checkpoint, behaviour, mask_prefix, run=f"the run {run}")
    if before is not None and before.mask != mask_prefix:
        tell(Event("publish", "note", text=f"{moved.address} moved from {before.mask} to {moved.mask}"))


def mask_card(
    config: RunConfig,
    harvested: Harvested,
    gated: Gated,
    method: str,
    mask: Mask,
    routing: RoutingRates | None = None,
) -> MaskCard:
    """The card of a method's mask: its origin, and what test and the changed conditions say of it.

    ``routing`` are the selection rates of the unsteered model that it was found on, by which drift is told later.
    """
    facts = gated.facts
    return MaskCard(
        model=model_name(config.model),
        model_fingerprint=mask.spec.fingerprint,
        chat_template=config.model.chat_template,
        behaviour=config.behaviour.name,
        method=method,
        selected=facts.methods[method].selected,
        data={**gated.inputs, "gate": gated.prefix, "checkpoint": harvested.facts.checkpoint},
        baseline=facts.baseline,
        result=facts.methods[method],
        labels=facts.labels,
        robustness=facts.robustness.get(method, {}),
        gates=config.gates.model_dump(mode="json") | {"robustness": config.robustness.model_dump(mode="json")},
        mask_digest=mask.digest,
        routing=routing,
    )


def _probes(storage: Storage, harvested: Harvested) -> Probes | None:
    """The routing of some dev conversations; None if no conversation of dev was recorded."""
    if all(not shard.name.startswith(traces_prefix("dev")) for shard in harvested.shards):
        return None
    return Probes.drawn(traces_of(storage, harvested, "dev"), harvested.facts.spec.n_experts)


def _store(storage: Storage, mask: Mask, card: MaskCard, probes: Probes | None) -> MaskStored:
    """Commit the mask, its card and its probes as a separate stage output; serving machines load the mask."""
    recipe_of_mask = Recipe(MaskStored, card.behaviour, {"mask": mask.digest, "card": card})
    output = StageOutput(storage, MaskStored, recipe_of_mask.name, recipe_of_mask.fingerprint)
    shards = [
        output.put(MASK, mask.to_bytes(), rows=1),
        output.put(CARD, f"{card.model_dump_json(indent=1)}\n".encode(), rows=0),
    ]
    if probes is not None:
        shards.append(output.put(PROBES, probes.to_bytes(), rows=0))
    return output.commit(shards, MaskFacts(), rows_in=1, inputs={"gate": card.data["gate"]})
