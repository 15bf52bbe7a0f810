"""Keep the strongest mask of a run that published none, marked as unproven, in the run's own folder."""

from mascing.evidence.explanation import listed
from mascing.evidence.gates import missed_gates
from mascing.masks.unproven import marked_unproven
from mascing.runs.files import CARD, MASK
from mascing.runs.readers import selected_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.cards.mask_card import UnprovenCard
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import RunStages
from mascing.schemas.result import UnprovenMask
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import seal_json
from mascing.tasks.publish import mask_card


def keep_unproven(storage: Storage, config: RunConfig, stages: RunStages, folder: RunFolder) -> UnprovenMask | None:
    """Write the mask that dev ranks first and its card below the run's folder, if the run published nothing.

    That ranking (mascing/selection/ranking.py) takes the picks that keep utility and protected sets on dev before
    those that do not, and among them the one whose dev uplift is surest. Test has no say in it, as in a publication.
    Returns None if a mask was published, or if the run ended before there was one.
    """
    if stages.gate is None or stages.select is None or stages.harvest is None or stages.gate.facts.winner is not None:
        return None
    facts = stages.gate.facts
    if facts.first_on_dev is None:
        return None
    method, result = facts.first_on_dev, facts.methods[facts.first_on_dev]
    why = f"not published by {folder.prefix}, for it missed {listed(missed_gates(result.reasons))} on test"
    mask = marked_unproven(selected_of(storage, stages.select)[method].mask, why)
    card = UnprovenCard(**dict(mask_card(config, stages.harvest, stages.gate, method, mask)), unproven=why)
    storage.overwrite(f"{folder.unproven}/{MASK}", mask.to_bytes())
    storage.overwrite(f"{folder.unproven}/{CARD}", seal_json(card.model_dump_json(indent=1)))
    return UnprovenMask(method=method, mask=folder.unproven)
