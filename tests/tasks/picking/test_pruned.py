"""Pruning a pick on the model itself removes entries without effect and keeps those that cause the behaviour."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mascing.conversations.splits import split_of
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.racing import blocks_of
from mascing.tasks.picking.pruned import Pick, pruned
from mascing.tasks.running.judged import BASELINE, judged_replies
from tests.mascing.conversations.lines import decode_lines, parse_conversations
from tests.small_run import small_config
from tests.tasks.here_pool import HerePool


class CountingPool(HerePool):
    """A pool that counts the replies that are judged."""

    replies = 0

    def map(self, *arguments: Any, **options: Any) -> list[Any]:
        values = super().map(*arguments, **options)
        self.replies += sum(len(rows) for judged in values for rows in judged.values())
        return values


@pytest.fixture(scope="module")
def config(testbed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return small_config(testbed_folder, tmp_path_factory.mktemp("sparsify"))


def dev(config: RunConfig) -> list[Conversation]:
    rows, _ = parse_conversations(decode_lines(Path(config.behaviour.conversations).read_bytes()), 100_000)
    return [row for row in rows if split_of(row.group_id, config.splits) == "dev"]


def test_entries_without_effect_are_pruned_and_the_cost_is_told(config: RunConfig, testbed_folder: Path) -> None:
    truth_LE: Tensor = load_file(testbed_folder / "truth-jailbreak-defence.safetensors")["bias"]
    pool, conversations = CountingPool(), dev(config)
    spec = inspect_routers(pool.worker.model(config.model).model)
    bias_LE = 3.0 * truth_LE
    idle = ~truth_LE.any(dim=1)
    bias_LE[idle, :4] = 0.5
    pick = Pick(Candidate("gradient", {"alpha": 1.0}, Mask.from_bias(bias_LE, spec)), ())
    blocks = blocks_of(conversations, (0.5, 1.0), seed=0)
    in_order = [conversation for block in blocks for conversation in block]
    [baseline] = judged_replies(pool.worker, config, in_order, [(BASELINE, None)])
    [smaller], facts = pruned(pool, config, blocks, baseline, [pick], torch.ones(spec.n_layers))
    mask = smaller.candidate.mask
    assert not mask.rule.entries_LE[idle].any()
    assert 0 < mask.entries < int(truth_LE.count_nonzero())
    assert smaller.candidate.cell == {"alpha": 1.0, "kept": mask.entries}
    assert len(smaller.rows) == len(conversations)
    fact = facts["gradient"]
    assert (fact.entries, fact.kept) == (pick.candidate.mask.entries, mask.entries)
    before, after = fact.target_rate
    assert after >= before - 0.05
    assert fact.replies == pool.replies
