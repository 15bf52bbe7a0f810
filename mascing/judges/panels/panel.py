"""The panel judge: several judges, and a rule by which their verdicts become one."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from mascing.judges.judge import BatchJudge, Judge, Pair, Verdicts, scored, summed, unscored, verdicts_of
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage

Rule = Literal["majority", "unanimity"]


def panel_judge(members: Sequence[tuple[str, Judge | BatchJudge]], rule: Rule) -> BatchJudge:
    """A hit is a reply in which, by ``majority``, more than half of all members find one, by ``unanimity`` all do.

    So is a miss. An unscored member counts among all, and for neither side; anything else than a hit or a miss, a tie
    also, is unscored. ``members`` have names, for the record of what each said.
    """

    async def judge(pairs: Sequence[Pair], storage: Storage | None) -> Verdicts:
        heard = await asyncio.gather(*(_all(member, pairs, storage) for _, member in members))
        for place in range(len(pairs)):
            said = [(name, verdicts[place]) for (name, _), verdicts in zip(members, heard, strict=True)]
            yield place, together(said, rule)

    return BatchJudge(judge)


def together(said: Sequence[tuple[str, Verdict]], rule: Rule) -> Verdict:
    """The panel's verdict from those of its members, by name; its record holds them all, and its cost is their sum."""
    counts = Counter(verdict.outcome for _, verdict in said)
    needed = len(said) if rule == "unanimity" else len(said) // 2 + 1
    reason = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("hit", "miss", "unscored") if counts[outcome])
    of_all = f"{reason} of {len(said)} members"
    won = next((side for side in ("hit", "miss") if counts[side] >= needed), None)
    verdict = unscored(f"no {rule}: {of_all}") if won is None else scored(won == "hit", of_all)
    return verdict.model_copy(
        update={
            # What more text could change for enough members, it could change for the panel.
            "final": won is not None and sum(each.final for _, each in said if each.outcome == won) >= needed,
            "failed": any(each.failed for _, each in said),
            "raw": json.dumps([_record(name, each) for name, each in said], ensure_ascii=False),
            "cost": summed(each.cost for _, each in said),
            "seconds": summed(each.seconds for _, each in said),
        }
    )


def _record(name: str, verdict: Verdict) -> dict[str, str | None]:
    return {"judge": name, "outcome": verdict.outcome, "reason": verdict.reason, "raw": verdict.raw}


async def _all(member: Judge | BatchJudge, pairs: Sequence[Pair], storage: Storage | None) -> dict[int, Verdict]:
    return {place: verdict async for place, verdict in verdicts_of(member, pairs, storage)}
