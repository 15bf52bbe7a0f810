"""A mask that wins on dev by chance: the best of many random masks is picked, and fails its gates on test."""

from pathlib import Path

import pytest
import torch

from mascing.conversations.conditions import sample
from mascing.conversations.reply import Reply
from mascing.conversations.splits import split_of
from mascing.engines.generation import complete, prompts_of
from mascing.evidence.results import baseline_of, cell_score, method_result, winner
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GatesConfig, GenerationConfig, ModelConfig, SplitConfig
from mascing.schemas.conversation import Split
from mascing.selection.choice import choose
from mascing.testbeds.planted import behaviour_config, conversations

pytestmark = pytest.mark.timeout(900)

BEHAVIOUR = "jailbreak-defence"
GENERATION = GenerationConfig(max_new_tokens=1, batch_size=128)
CANDIDATES = 24


def test_the_best_of_many_random_masks_on_a_small_dev_split_is_not_published(testbed_folder: Path) -> None:
    loaded = load(ModelConfig(path=str(testbed_folder)))
    spec = inspect_routers(loaded.model)
    behaviour = behaviour_config(BEHAVIOUR, str(testbed_folder))
    # Judged by the first word alone, which decides between refusal and answer.
    refusals = behaviour.model_copy(update={"utility": behaviour.target})

    def judged(split: Split, most: int, masks: list[Mask | None]) -> list[list[dict[str, str]]]:
        rows = [row for row in conversations(BEHAVIOUR, 0) if split_of(row.group_id, SplitConfig()) == split]
        rows = sample([row for row in rows if row.set == "target" or row.set.startswith("protected")], most)
        prompts = prompts_of(loaded, rows, GENERATION)
        # As whole replies: the judge would wait for the rest of one that was cut off.
        spoken = [[Reply(reply.text) for reply in complete(loaded, prompts, mask, GENERATION)] for mask in masks]
        return [
            [
                {"conversation_id": row.id, "group_id": row.group_id, "set": row.set, "reply": reply.text}
                | {"outcome": verdict.outcome}
                for row, reply, verdict in zip(rows, replies, judge_all(refusals, rows, replies), strict=True)
            ]
            for replies in spoken
        ]

    draw = torch.Generator().manual_seed(0)
    masks: list[Mask | None] = [
        Mask.from_bias(4 * torch.randn(spec.n_layers, spec.n_experts, generator=draw), spec) for _ in range(CANDIDATES)
    ]
    plain, *steered = [cell_score({}, rows) for rows in judged("dev", 12, [None, *masks])]
    gates = GatesConfig(max_utility_loss=1)  # no utility set is judged here, which leaves its gate off
    picked = choose(plain, steered, gates)
    assert steered[picked].target_rate > plain.target_rate

    before, after = judged("test", 120, [None, masks[picked]])
    result = method_result(before, after, selected={}, circuit_precision=None, gates=gates)
    assert baseline_of(before).target_rate.value == pytest.approx(0.5, abs=0.1)
    assert result.gate == "fail"
    assert any(reason.startswith("target fails") for reason in result.reasons)
    assert winner({"gradient": result}, "gradient") is None
