"""The traces of a finished run or harvest, for looking at: sample by sample, as tensors, or as a lazy table.

Shape suffixes: T token, L MoE layer, E expert, K selected expert.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from mascing.errors import DataError
from mascing.routers.spec import RouterSpec
from mascing.runs.files import traces_prefix
from mascing.runs.finished_run import read_inputs
from mascing.runs.readers import spec_of, traces_of
from mascing.runs.run_folder import RunFolder, find_run
from mascing.schemas.conversation import Split
from mascing.schemas.finished import Harvested
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.traces.stored import StoredTraces
from mascing.traces.trace_set import SampleTrace, TraceSet, joined

if TYPE_CHECKING:
    import polars as pl

REGIONS = ("question", "prompt", "reply")
_ADDRESS = re.compile(r"(?:(?P<storage>.*)/)?(?P<kind>runs|harvest)/(?P<name>[^/]+)")
_ROWS = 2**18
"""About how many rows of the table are in memory at once."""


def traces(url: str | PathLike[str], run: str | None = None, *, split: Split = "train") -> "RunTraces":
    """The stored traces of one split of a run.

    ``url`` is the folder of a run (``.../runs/<run>``), the prefix of a harvest stage (``.../harvest/<name>``), or a
    storage URL; then ``run`` names the run, by default the latest. Raises DataError if there are no traces there, and
    StorageError if they cannot be read.
    """
    if not isinstance(url, str | PathLike) or not isinstance(run, str | None):
        raise DataError(f"traces are read from a URL and the name of a run, not from {type(url).__name__} and {run!r}")
    if split not in get_args(Split):
        raise DataError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}")
    storage, prefix = _harvest_at(fspath(url).rstrip("/"), run)
    try:
        harvested = read_manifest(storage, prefix, Harvested)
    except FileNotFoundError as error:
        raise DataError(f"{storage.locate(prefix)} holds no finished harvest: give the folder of a run") from error
    recorded = [
        name
        for name in get_args(Split)
        if any(shard.name.startswith(traces_prefix(name)) for shard in harvested.shards)
    ]
    if split not in recorded:
        there = ", ".join(recorded) or "none"
        raise DataError(f"{storage.locate(prefix)} holds no traces of the split {split!r}; recorded there: {there}")
    return RunTraces(storage, harvested, split)


@dataclass(frozen=True)
class RunTraces:
    """The traces of one split, read when needed; iterating holds a few shards in memory, however many there are.

    Iterating yields each sample as a :class:`SampleTrace`: ``z`` float16 [T, L, E], the raw router logits of its final
    user turn, of the tokens up to the reply, and of the reply where that was recorded; ``selected`` [T, L, K], the
    experts that the model itself selected; ``label`` 1 where its own reply shows the behaviour.
    """

    _storage: Storage
    _harvested: Harvested
    split: Split

    @property
    def spec(self) -> RouterSpec:
        """The routers of the model: L is ``n_layers``, at the depths ``layer_ids``, E is ``n_experts``."""
        return spec_of(self._harvested)

    def __iter__(self) -> Iterator[SampleTrace]:
        """The samples, in stored order."""
        for part in self._stored.parts():
            yield from _samples(part)

    def __len__(self) -> int:
        """The number of samples."""
        prefix = traces_prefix(self.split)
        return sum(shard.rows for shard in self._harvested.shards if shard.name.startswith(prefix))

    def to_torch(self) -> TraceSet:
        """All samples in memory, as tensors; ``padded`` of it makes rectangular ones."""
        return joined(list(self._stored.parts()))

    def to_polars(self) -> "pl.LazyFrame":
        """One row for each sample, token, layer and expert, read while the query runs.

        Columns: ``sample`` (id of the conversation), ``label`` (1 or 0), ``token`` (position in the recorded part,
        from 0), ``region`` (question, prompt or reply), ``layer`` (depth in the model), ``expert``, ``logit`` (before
        any selection), ``selected`` (whether the model selected the expert for the token).
        """
        import polars as pl
        from polars.io.plugins import register_io_source

        schema: dict[str, Any] = {
            "sample": pl.String,
            "label": pl.Int8,
            "token": pl.Int32,
            "region": pl.Enum(REGIONS),
            "layer": pl.Int32,
            "expert": pl.Int32,
            "logit": pl.Float32,
            "selected": pl.Boolean,
        }

        def read(
            columns: list[str] | None, predicate: "pl.Expr | None", n_rows: int | None, batch_size: int | None
        ) -> Iterator["pl.DataFrame"]:
            del batch_size
            left = n_rows
            for part in self._stored.parts():
                for frame in _frames(part, self.spec, schema):
                    shown = frame if left is None else frame.head(left)
                    left = None if left is None else left - shown.height
                    chosen = shown if predicate is None else shown.filter(predicate)
                    yield chosen if columns is None else chosen.select(columns)
                    if left == 0:
                        return

        return register_io_source(read, schema=schema)

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"RunTraces({self._harvested.name}, {self.split}: {len(self)} samples, {spec.family} {spec.n_layers} x "
            f"{spec.n_experts})"
        )

    @property
    def _stored(self) -> StoredTraces:
        return traces_of(self._storage, self._harvested, self.split)


def _harvest_at(url: str, run: str | None) -> tuple[Storage, str]:
    """The storage, and the prefix of the harvest stage in it."""
    match = None if run is not None else _ADDRESS.fullmatch(url)
    if match is None:
        storage = Storage.open_to_read(url)
        folder = find_run(storage, run).folder
    else:
        storage = Storage.open_to_read(match["storage"] if match["storage"] is not None else ".")
        if match["kind"] == "harvest":
            return storage, f"harvest/{match['name']}"
        folder = RunFolder(match["name"])
    stages = read_inputs(storage, folder).stages
    if "harvest" not in stages:
        raise DataError(f"{storage.locate(folder.prefix)} has no harvest: its run recorded no traces")
    return storage, stages["harvest"]


def _samples(part: TraceSet) -> Iterator[SampleTrace]:
    bounds = part.offsets.tolist()
    for number, (start, end) in enumerate(pairwise(bounds)):
        yield SampleTrace(
            conversation_id=part.ids[number],
            group_id=part.groups[number],
            label=int(part.labels[number]),
            z=part.z[start:end],
            regions=part.regions[start:end],
            selected=part.selected[start:end],
        )


def _frames(part: TraceSet, spec: RouterSpec, schema: Mapping[str, Any]) -> Iterator["pl.DataFrame"]:
    """The rows of a part, a few tokens at a time."""
    import polars as pl

    ids, regions = pl.Series(part.ids, dtype=pl.String), pl.Series(REGIONS, dtype=schema["region"])
    n_layers, n_experts = spec.n_layers, spec.n_experts
    per_token = n_layers * n_experts
    tokens = torch.arange(len(part.z))
    samples = torch.searchsorted(part.offsets, tokens, right=True) - 1

    def by_token(values_T: Tensor) -> Any:
        return values_T.repeat_interleave(per_token).numpy()

    for chosen_T in tokens.split(max(1, _ROWS // per_token)):
        selected_TLE = torch.zeros(len(chosen_T), n_layers, n_experts + 1, dtype=torch.bool)
        # A place that went to no expert has the id E, so there is one column more than experts.
        selected_TLE.scatter_(2, part.selected[chosen_T].long(), True)

        sample_T = samples[chosen_T]
        yield pl.DataFrame(
            {
                "sample": ids.gather(by_token(sample_T)),
                "label": by_token(part.labels[sample_T]),
                "token": by_token(chosen_T - part.offsets[sample_T]),
                "region": regions.gather(by_token(part.regions[chosen_T])),
                "layer": torch.tensor(spec.layer_ids).repeat_interleave(n_experts).repeat(len(chosen_T)).numpy(),
                "expert": torch.arange(n_experts).repeat(n_layers * len(chosen_T)).numpy(),
                "logit": part.z[chosen_T].float().flatten().numpy(),
                "selected": selected_TLE[..., :n_experts].flatten().numpy(),
            }
        ).cast(pl.Schema(schema))
