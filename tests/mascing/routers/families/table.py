"""Run the family tests and write what they found: ``python -m tests.mascing.routers.families.table``.

``docs/families.json`` keeps the findings, ``docs/families.md`` shows them; a test sees that both are up to date.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parents[3] / "docs"
COLUMNS = {
    "`model_type`": "model_type",
    "Class": "class",
    "Selection": "scoring",
    "Bias of zero": "bias of zero",
    "Bias, against the definition": "bias against the definition",
    "Recorded selections, against the definition": "recorded selections",
    "Override, against the definition": "override against the definition",
    "Switched off by an override": "off by the override",
    "Switched off by a bias of -1e4": "off by a bias of -1e4",
    "`generate` with a cache": "generate with a cache",
    "A mask for each row": "a mask for each row",
    "`torch.compile`": "torch.compile",
    "Baking": "baking",
}
INTRODUCTION = """# Router families

Each family was run as a tiny model of its real transformers class: 8 experts, top-2, random weights, CPU. The tests in
`tests/mascing/routers/families/` wrote the outcomes. `python -m tests.mascing.routers.families.table` writes this page
from them, and a test keeps it current. `make test-range` runs the same tests at both ends of the supported range of
transformers.

The words in the tables mean:

- *against the definition*: The selected experts are compared with an independent implementation of the family's
  selection in float64; the weights are equal within 2e-6.
- *recorded selections*: The expert ids in traces are those that the model selected: after corrections, groups and
  steering. Counts of selections come from them, never from the top-k of raw logits.
- *by log-softmax scores, by logits*: What the override is stated on. The SteerMoE paper states it on log-softmax
  scores. Where a shift of all logits changes the weights (sigmoid scores, sparsemixer), it is stated on the logits.
- *bounded by the correction*: These routers add a learned correction to scores in [0, 1] before they select. A logit
  bias moves a score no further than 0 or 1, so it may not switch an expert off or on. An override mask edits the
  corrected scores as well, and does.
- *baking*: The mask is written into the checkpoint.
- *selection only*: The weight of an expert that is forced on comes from its uncorrected score, so it weighs less than
  when steered.
- *full graph*: `torch.compile` captures the graph (`backend="eager"`).

Only experts that a router chooses among count: not longcat_flash's zero experts nor inkling's shared ones, although
they have logits too. Where a token chooses one of longcat_flash's zero experts, its id in `trace.selected` is the
number of experts or more. In mistral4 an override raises an expert by log 2 more than the paper's rule, so that its
group is kept.

`deepseek` is v1 (deepseek-moe-16b). It loads natively as `qwen2_moe`, with outputs equal to its definition. `doge` and
other routers with factored keys are refused, and so are routers that quantisation replaced or that carry an
[adapter](environments.md#adapters). FP8 checkpoints need transformers 5.17 or newer.
"""


def main() -> int:
    import pytest

    from tests.mascing.routers.families import outcomes

    outcomes.collecting.append(True)
    code = pytest.main(["-q", str(HERE), "--ignore", str(HERE / "test_table.py")])
    if code == 0:
        (DOCS / "families.json").write_text(
            json.dumps(outcomes.collected, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        (DOCS / "families.md").write_text(render(outcomes.collected), encoding="utf-8")
    return int(code)


def render(findings: dict[str, dict[str, str]]) -> str:
    """The page, with one table of a row a family for each question that was asked of all."""
    lines = [INTRODUCTION]
    header = list(COLUMNS)
    for group in (header[:4], header[4:9], header[9:]):
        lines += [f"| Family | {' | '.join(group)} |", f"|{'---|' * (len(group) + 1)}"]
        for family, checks in sorted(findings.items()):
            cells = [family, *(checks[COLUMNS[column]] for column in group)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
