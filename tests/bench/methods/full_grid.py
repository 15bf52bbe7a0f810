"""The full grid of a finished run, judged once, and parts of its masks, judged when a replay asks for them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from mascing.engines.generation import complete, prompts_of
from mascing.engines.likelihood import ReplyBatch
from mascing.judges.judging import judge_all
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded, load
from mascing.runs.finished_run import RunInputs, read_inputs
from mascing.runs.readers import candidates_of, conversations_of, sigma_of
from mascing.runs.run_folder import find_run
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.finished import Harvested, Labelled, Optimised
from mascing.selection.margin import forced, forced_batches
from mascing.selection.parts import Places, restricted
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from tests.mascing.mask_rules import bias_of

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
METHODS = ("steermoe", "gradient", "active")
SPLITS: tuple[Split, ...] = ("dev", "test")

Likelihoods = Mapping[str, Any]
"""The margins and kept likelihoods of one group of dev."""


@dataclass
class Judged:
    """What replays need of one mask: outcomes in the order of each split, likelihoods by group of dev."""

    outcomes: dict[str, list[str]] = field(default_factory=dict)
    forced: dict[str, Likelihoods] = field(default_factory=dict)


class FullGrid:
    """The candidates of a run, with mascing's masks at alpha 1 scaled to eight alphas, and what was judged of them.

    Everything judged is kept in ``file``.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self._storage, self._file = Storage.open(str(folder)), file
        stored = json.loads(file.read_text()) if file.exists() else {}
        self._judged = {key: Judged(**judged) for key, judged in stored.items()}

    def save(self) -> None:
        """Keep what was judged."""
        self._file.write_text(json.dumps({key: vars(judged) for key, judged in self._judged.items()}))

    def outcomes(self, split: Split, cell: int | None, places: Places | None = None) -> Sequence[str]:
        """The outcomes of a cell, or of a part of its mask, on a split; None is the unsteered model."""
        judged = self._judged.setdefault(_key(cell, places), Judged())
        if split not in judged.outcomes:
            conversations, config = self.conversations[split], self.config
            replies = complete(self._loaded, self._prompts[split], self._mask(cell, places), config.generation)
            judged.outcomes[split] = [
                verdict.outcome for verdict in judge_all(config.behaviour, conversations, replies)
            ]
        return judged.outcomes[split]

    def forced(self, cell: int | None, places: Places | None = None) -> Mapping[str, Likelihoods]:
        """The likelihoods of dev's given replies under a cell, or a part of its mask, by group."""
        judged = self._judged.setdefault(_key(cell, places), Judged())
        if not judged.forced:
            mask = self._mask(cell, places)
            judged.forced = {
                group: vars(forced(self._loaded, batches, mask)) for group, batches in self._batches.items()
            }
        return judged.forced

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The cells of the grid."""
        stored = candidates_of(self._storage, read_manifest(self._storage, self._inputs.stages["optimise"], Optimised))
        cells = [candidate for candidate in stored if candidate.method in METHODS]
        for candidate in stored:
            settings = candidate.cell
            if candidate.method == "mascing" and settings["alpha"] == 1 and settings["span"] == "question+prompt":
                for alpha in ALPHAS:
                    mask = Mask.from_bias(alpha * bias_of(candidate.mask), candidate.mask.spec, {})
                    cells.append(Candidate("mascing", {**settings, "alpha": alpha}, mask))
        return cells

    @cached_property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self._inputs.run_config

    @cached_property
    def sigma_L(self) -> Tensor:
        """The scale of each layer."""
        return sigma_of(read_manifest(self._storage, self._inputs.stages["harvest"], Harvested))

    @cached_property
    def conversations(self) -> Mapping[Split, Sequence[Conversation]]:
        """The conversations of dev and test."""
        labelled = read_manifest(self._storage, self._inputs.stages["label"], Labelled)
        return {split: conversations_of(self._storage, labelled, split) for split in SPLITS}

    @cached_property
    def _inputs(self) -> RunInputs:
        return read_inputs(self._storage, find_run(self._storage).folder)

    @cached_property
    def _loaded(self) -> Loaded:
        return load(self.config.model)

    @cached_property
    def _prompts(self) -> Mapping[Split, Any]:
        return {split: prompts_of(self._loaded, self.conversations[split], self.config.generation) for split in SPLITS}

    @cached_property
    def _batches(self) -> Mapping[str, Mapping[str, Sequence[ReplyBatch]]]:
        groups: dict[str, list[Conversation]] = defaultdict(list)
        for conversation in self.conversations["dev"]:
            groups[conversation.group_id].append(conversation)
        size = self.config.generation.batch_size
        return {group: forced_batches(self._loaded, members, size) for group, members in groups.items()}

    def _mask(self, cell: int | None, places: Places | None) -> Mask | None:
        if cell is None:
            return None
        mask = self.candidates[cell].mask
        return mask if places is None else restricted(mask, places)


def _key(cell: int | None, places: Places | None) -> str:
    return f"{cell}" if places is None else f"{cell}: {' '.join(map(str, sorted(places)))}"
