"""The mask that is served: the channel that holds it, and how it does today."""

from mascing.errors import DataError, MaskError, StorageError
from mascing.evidence.gates import WORDS
from mascing.evidence.promoting.routing_drift import undecided_drift
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs import registry
from mascing.runs.publications.published_mask import published_mask
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.cards.scheduled_check import MaskStanding
from mascing.schemas.result import Gate
from mascing.storage.object_storage import Storage
from mascing.tasks.watching.standing import Standing, Watch


def live_channel(storage: Storage, checkpoint: NamedCheckpoint, behaviour: str, channel: str) -> Channel | None:
    """The channel of this checkpoint, or where it has none, the latest of an earlier checkpoint of that name.

    What is served was found on the earlier one, whatever the model is by now.
    """
    own = registry.current(storage, checkpoint, behaviour, channel)
    if own is not None:
        return own
    earlier = [
        entry
        for entry in registry.channels(storage)
        if (entry.model, entry.behaviour, entry.channel) == (checkpoint.name, behaviour, channel)
    ]
    return max(earlier, key=lambda entry: entry.moves[-1].at.timestamp() if entry.moves else 0.0, default=None)


def standing_of(watch: Watch, prefix: str) -> Standing | MaskStanding:
    """How the mask at ``prefix`` does today; without verdicts where it cannot be judged, which says why.

    A mask that the model takes no more fails: what serves it runs without it, or not at all.
    """
    published = None
    try:
        published = published_mask(watch.storage, prefix)
        return watch.stand(published)
    except MaskError as error:
        return _unjudged(prefix, published.mask.digest if published else "", "fail", str(error))
    except (DataError, StorageError) as error:
        if published is not None:
            raise
        return _unjudged(prefix, "", "undecided", str(error))


def _unjudged(prefix: str, digest: str, gate: Gate, why: str) -> MaskStanding:
    reasons = (f"mask {WORDS[gate]}: {why}",)
    return MaskStanding(mask=prefix, digest=digest, gate=gate, reasons=reasons, routing=undecided_drift(why))
