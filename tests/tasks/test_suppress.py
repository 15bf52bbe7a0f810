"""The audit measures each mask once, and a row that cannot be replied to counts against it."""

import json
from pathlib import Path
from typing import Any

import pytest

from mascing.conversations.reply import Reply
from mascing.engines.generation import complete
from mascing.schemas.config import AuditConfig, GenerationConfig
from mascing.schemas.finished import Harvested, Labelled
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.prepare import prepare
from mascing.tasks.suppress import audit
from tests.mascing import olmoe_folder
from tests.tasks.contrast.test_labelling import chats, config_for
from tests.tasks.here_pool import HerePool
from tests.tasks.replying.completing import replies_by

AUDIT = AuditConfig(n_suppressed=(1, 2), random_draws=2, ranking="risk_difference")
MASKS = len(AUDIT.n_suppressed) * (1 + AUDIT.random_draws)


class KilledPool(HerePool):
    """A pool that ends the run when as many masks are measured as it may measure."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left + 1  # the ranking is an item too

    def result(self, function: Any, shared: Any, item: Any) -> Any:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().result(function, shared, item)


def test_an_audit_that_was_killed_measures_what_is_missing_and_no_row_fails_it(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(
        olmoe_folder.save(tmp_path / "model"), tmp_path, chats(), audit=AUDIT, behaviour={"matching": None}
    ).model_copy(update={"generation": GenerationConfig(max_new_tokens=3)})
    labelled: Labelled = label(storage, config, prepare(storage, config).manifest, pool=HerePool()).manifest
    harvested: Harvested = harvest(storage, config, labelled, pool=HerePool()).manifest
    measured: list[str] = []
    poison: list[str] = []

    def counted(loaded: Any, prompts: Any, mask: Any, *others: Any) -> list[Reply]:
        poison[:] = poison or [prompts[0].conversation_id]
        if any(prompt.conversation_id in poison for prompt in prompts):
            raise ValueError("this row")
        measured.append(mask.digest)
        return complete(loaded, prompts, mask, *others)

    replies_by(monkeypatch, counted)
    with pytest.raises(KeyboardInterrupt):
        audit(storage, config, labelled, harvested, pool=KilledPool(2))
    before = set(measured)
    measured.clear()
    audited = audit(storage, config, labelled, harvested, pool=HerePool()).manifest
    assert (len(before), len(set(measured)), len(audited.shards)) == (2, MASKS - 2, MASKS)
    assert before.isdisjoint(measured)
    [first, _] = audited.facts.audit.points
    assert sum(rate.unscored for rate in first.rates.values()) == 1
    stored = json.loads(storage.read(f"{audited.prefix}/rates-000.json"))
    assert {"rates", "changes"} == stored.keys() - {"mascing.sha256"}
