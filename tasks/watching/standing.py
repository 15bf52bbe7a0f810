"""How published masks do today: on the present test conversations, judges and model, beside what their cards say."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from mascing.engines.installed import versions
from mascing.errors import DataError, StorageError
from mascing.evidence.gates import Decision, decide_judges, judges_of
from mascing.evidence.promoting.promotion import Row, decide_drift, paired_by_set
from mascing.evidence.results import further_gated, method_result, rates_by_set
from mascing.runs.publications.published_mask import PublishedMask
from mascing.runs.readers import COUNTED, conversations_of, verdicts_of
from mascing.schemas.cards.scheduled_check import MaskStanding
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Evaluated, Labelled, Prepared
from mascing.schemas.result import Rate
from mascing.schemas.settings.engine_settings import RunEngine
from mascing.schemas.settings.schedule_settings import ScheduleConfig
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import BASELINE, Judging, Steered
from mascing.tasks.replying.replies import content_of
from mascing.tasks.running.stage import steps
from mascing.tasks.streaming.asked import Asked
from mascing.tasks.watching.probing import Measured, probe
from mascing.tasks.workers.pool import Pool

_SOFTWARE = ("mascing", "torch", "transformers")


@dataclass(frozen=True)
class Standing:
    """A mask, how it does today, and the rows of its verdicts."""

    published: PublishedMask
    today: MaskStanding
    rows: Sequence[Row]


@dataclass(frozen=True)
class Watch:
    """What masks are held against: the model, conversations and judges of today, with the workers that reply."""

    storage: Storage
    config: RunConfig
    schedule: ScheduleConfig
    prepared: Prepared
    labelled: Labelled
    pool: Pool

    def stand(self, published: PublishedMask) -> Standing:
        """How the mask does today. Raises MaskError if the model takes it no more, since it has other routers.

        Replies are generated where the model, the software or the routing is another than at the last look; else they
        are found.
        """
        measured = probe(self.storage, self.config, published, self.schedule.min_shift, self.pool)
        conversations = conversations_of(self.storage, self.labelled, "test")
        judging = Judging(self.pool, self.storage, self.config, self._replying(measured))
        masks: list[Steered] = [(BASELINE, None), (published.card.method, published.mask)]
        judged = judging.judge(Asked(conversations), masks, steps("watch"))
        unsteered, steered = (pa.concat_tables(of_mask.tables()) for of_mask in judged)
        result = method_result(unsteered, steered, selected={}, circuit_precision=None, gates=self.config.gates)
        rates = rates_by_set(steered)
        gated = further_gated(result, [decide_judges(judges_of(self.config.behaviour, rates))])
        rows = steered.select(COUNTED).to_pylist()
        (drift, drift_reasons), changes = self._drift(published, rows)
        today = MaskStanding(
            mask=published.prefix,
            digest=published.mask.digest,
            gate=gated.gate,
            reasons=gated.reasons,
            rates=rates,
            changes=changes,
            drift=drift,
            drift_reasons=drift_reasons,
            routing=measured.drift,
        )
        return Standing(published, today, rows)

    def _replying(self, measured: Measured) -> str:
        """What replies, as an address: the weights, the software, and where the routing drifted, what it is now."""
        drifted = measured.probes if measured.drift.gate == "fail" else None
        moved = None if drifted is None else drifted.to_bytes().hex()
        return fingerprint([self.labelled.facts.checkpoint, software(self.config.engine), moved])

    def _drift(self, published: PublishedMask, rows: Sequence[Row]) -> tuple[Decision, dict[str, Rate]]:
        """Whether the mask does worse than when its card was written, on the conversations that are still the same."""
        try:
            evaluated = read_manifest(self.storage, published.card.data["evaluate"], Evaluated)
            before = verdicts_of(self.storage, evaluated)[published.card.method].select(COUNTED).to_pylist()
            same = self._same(read_manifest(self.storage, published.card.data["prepare"], Prepared))
        except (FileNotFoundError, KeyError, StorageError, DataError) as error:
            return ("undecided", (f"drift is undecided: the verdicts behind its card cannot be read ({error})",)), {}
        paired = paired_by_set(before, [row for row in rows if row["conversation_id"] in same])
        if not paired:
            return ("undecided", ("drift is undecided: no test conversation is that of its card any more",)), {}
        return decide_drift(paired, self.schedule.tolerance), {name: pair.change for name, pair in paired.items()}

    def _same(self, prepared: Prepared) -> set[str]:
        """The ids of the test conversations that ask the same as then: an id alone may have another text by now."""
        then = {content_of(row) for row in conversations_of(self.storage, prepared, "test")}
        now = conversations_of(self.storage, self.labelled, "test")
        return {row.id for row in now if content_of(row) in then}


def software(engine: RunEngine) -> dict[str, str]:
    """The versions of what computes replies."""
    return versions(_SOFTWARE, engine)
