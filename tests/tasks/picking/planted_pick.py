"""A pick on a testbed's dev split: the known circuit with idle entries beside it, and what pruning it needs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from mascing.conversations.parquet_tables import to_table
from mascing.conversations.splits import split_of
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.runs.stored_conversations import StoredConversations
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.racing import blocks_of
from mascing.storage.object_storage import Storage
from mascing.tasks.picking.dev import Dev, Pick
from mascing.tasks.picking.jury import Jury
from mascing.tasks.picking.sample import Sample
from mascing.tasks.replying.judged import BASELINE, Judging
from tests.mascing.conversations.lines import decode_lines, parse_conversations
from tests.tasks.here_pool import HerePool


class CountingPool(HerePool):
    """A pool that counts the replies that are generated."""

    replies = 0

    def __init__(self) -> None:
        super().__init__()
        self.worker.count = self._count  # type: ignore[method-assign]

    def _count(self, name: str, number: int) -> None:
        self.replies += number if name == "replies" else 0


def jury_of(pool: HerePool, config: RunConfig, folder: Path, conversations: Sequence[Conversation]) -> Jury:
    """Replies to the conversations and verdicts by the pool, stored in ``folder``."""
    judging = Judging(pool, Storage.open(str(folder)), config, checkpoint="0" * 16)
    return Jury(judging, StoredConversations(to_table(conversations)))


def dev_conversations(config: RunConfig) -> list[Conversation]:
    """The dev conversations of a run."""
    rows, _ = parse_conversations(decode_lines(Path(str(config.behaviour.conversations)).read_bytes()), 100_000)
    return [row for row in rows if split_of(row.group_id, config.splits) == "dev"]


def without_margin(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The conversations without the unwanted replies of the target set, so that no margin can be read."""
    return [row.model_copy(update={"unwanted": None}) if row.set == "target" else row for row in conversations]


def planted_mask(pool: HerePool, config: RunConfig) -> Mask:
    """The circuit, and four entries in each layer that has no part of it."""
    assert config.behaviour.truth is not None
    bias_LE = 3.0 * load_file(config.behaviour.truth)["bias"]
    bias_LE[idle_layers(config), :4] = 0.5
    return Mask.from_bias(bias_LE, inspect_routers(pool.worker.model(config.model).model))


def idle_layers(config: RunConfig) -> torch.Tensor:
    """The layers without a part of the circuit, bool [L]."""
    assert config.behaviour.truth is not None
    truth_LE: torch.Tensor = load_file(config.behaviour.truth)["bias"]
    return ~truth_LE.any(dim=1)


def race_over(jury: Jury) -> Dev:
    """The state after a race on the conversations in two blocks; given replies are read on the first of them."""
    blocks = blocks_of(jury.conversations, (0.5, 1.0), seed=0)
    in_order = [conversation for block in blocks for conversation in block]
    [baseline] = jury.judge([(BASELINE, None)], in_order, lambda done, total: None)
    n_layers = len(idle_layers(jury.config))
    sample = Sample(jury.judging, jury.at(blocks[0]))
    ends = [len(blocks[0]), len(in_order)]
    return Dev(jury, in_order, ends, baseline, sample, torch.ones(n_layers))


def pick_of(dev: Dev, mask: Mask, judged: int) -> Pick:
    """``mask`` as the pick of a method, with its verdicts on the first ``judged`` conversations."""
    [rows] = dev.judge([("gradient", mask)], dev.conversations[:judged])
    return Pick(Candidate("gradient", {"alpha": 1.0}, mask), rows)
