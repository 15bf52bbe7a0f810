"""Judge the picks of all methods on as many dev conversations as the budget pays for, so that they can be ranked."""

from collections.abc import Sequence
from dataclasses import replace

from mascing.tasks.picking.dev import Dev, Pick


def judged_further(dev: Dev, picks: Sequence[Pick], budget: int) -> tuple[list[Pick], int]:
    """The picks with the verdicts of all blocks that ``budget`` replies pay for, and the number of replies judged."""
    further, spent = list(picks), 0
    for end in dev.ends:
        missing = sum(max(0, end - len(pick.rows)) for pick in further)
        if spent + missing > budget:
            break
        for start in sorted({len(pick.rows) for pick in further if len(pick.rows) < end}):
            numbers = [number for number, pick in enumerate(further) if len(pick.rows) == start]
            masks = [(pick.candidate.method, pick.candidate.mask) for pick in (further[number] for number in numbers)]
            judged = dev.judge(masks, dev.conversations[start:end])
            for number, rows in zip(numbers, judged, strict=True):
                further[number] = replace(further[number], rows=[*further[number].rows, *rows])
        spent += missing
    return further, spent
