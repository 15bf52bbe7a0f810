"""The inputs of a run: the rows of its file or of each of its sources, wherever they lie, and what identifies them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mascing.catalogue.hub import address, rows_of
from mascing.conversations.intake.opening import Opener
from mascing.conversations.intake.reader import Part, formats_of
from mascing.schemas.catalogue.sources import SourceConfig
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.settings.columns import ColumnsConfig
from mascing.storage.source import content_hash, files_of_rows


@dataclass(frozen=True)
class Input(Part):
    """A part of a run's conversations, with the files that hold its rows, by name, and the place where they lie."""

    place: str = ""
    files: Mapping[str, Opener] = field(default_factory=dict)


def inputs_of(behaviour: BehaviourConfig) -> list[Input]:
    """Find the rows of a behaviour; data sets are loaded. Raises DataError for what is not there."""
    if isinstance(behaviour.conversations, str):
        return [_input(behaviour.conversations, files_of_rows(behaviour.conversations), behaviour.columns)]
    return [_of_source(source) for source in behaviour.conversations]


def content_of(inputs: Sequence[Input]) -> str:
    """The hash of all rows. A data set whose rows changed has another one, whatever its name or revision says."""
    hashes = [content_hash(each.place, each.files) for each in inputs]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def read_as(behaviour: BehaviourConfig) -> Any:
    """All that determines which conversations the rows make, apart from the place where they lie."""
    if isinstance(behaviour.conversations, str):
        return behaviour.columns
    return [source.model_dump(exclude={"file", "dataset"}) for source in behaviour.conversations]


def _of_source(source: SourceConfig) -> Input:
    if source.dataset is not None:
        return _input(address(source.dataset), rows_of(source.dataset), source.columns, source)
    return _input(str(source.file), files_of_rows(str(source.file)), source.columns, source)


def _input(
    place: str, files: Mapping[str, Opener], columns: ColumnsConfig | None, source: SourceConfig | None = None
) -> Input:
    return Input(formats_of(files), columns, source, place, files)
