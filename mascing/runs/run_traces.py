"""The traces of a finished run or harvest, for looking at: sample by sample, as tensors, or as a lazy table.

Shape suffixes: T token, L MoE layer, E expert, K selected expert.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from pydantic import ConfigDict
from torch import Tensor

from mascing.errors import DataError
from mascing.routers.spec import RouterSpec
from mascing.runs.finished_run import read_inputs
from mascing.runs.run_folder import RUNS, RunFolder, find_run
from mascing.runs.stored_collections import COLLECT, StoredCollection, stored_collections
from mascing.runs.trace_shards import TraceShards, splits_of
from mascing.schemas.conversation import Split
from mascing.schemas.manifest import Facts, Manifest
from mascing.schemas.trace_layout import REGIONS, TraceLayout
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from mascing.traces.layouts import spec_in
from mascing.traces.selection_counts import counts_table
from mascing.traces.shard_files import ShardFile
from mascing.traces.shard_statistics import TraceStatistics
from mascing.traces.stored import StoredTraces
from mascing.traces.trace_set import UNLABELLED, SampleTrace, TraceSet, joined, samples_of

if TYPE_CHECKING:
    import polars as pl

_ADDRESS = re.compile(r"(?:(?P<storage>.*)/)?(?P<kind>runs|harvest|collect)/(?P<name>[^/]+)")
_ROWS = 2**18
"""About how many rows of the table are in memory at once."""


def traces(url: str | PathLike[str], run: str | None = None, *, split: Split | None = None) -> "RunTraces":
    """The stored traces of one split of a run, or of a harvest.

    ``url`` is the folder of a run (``.../runs/<run>``), the prefix of a harvest (``.../harvest/<name>``, or
    ``.../collect/<name>`` of conversations without labels), or a storage URL; then ``run`` names the run or the
    collection, by default the latest run, or the latest collection where there is no run. Without ``split``, the traces
    are those of the train split, or all of a harvest that has no splits. Raises DataError if there are no traces there,
    and StorageError if they cannot be read.
    """
    if not isinstance(url, str | PathLike) or not isinstance(run, str | None):
        raise DataError(f"traces are read from a URL and the name of a run, not from {type(url).__name__} and {run!r}")
    if split is not None and split not in get_args(Split):
        raise DataError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}")
    storage, prefix = _harvest_at(fspath(url).rstrip("/"), run)
    try:
        manifest = read_manifest(storage, prefix, _Harvest)
    except FileNotFoundError as error:
        raise DataError(f"{storage.locate(prefix)} holds no finished harvest: give the folder of a run") from error
    recorded = splits_of(manifest)
    wanted = split if split is not None or recorded == [None] else "train"
    if wanted not in recorded:
        there = ", ".join(name or "traces without splits" for name in recorded) or "none"
        raise DataError(f"{storage.locate(prefix)} holds no traces of the split {wanted!r}; recorded there: {there}")
    return RunTraces(storage, manifest, wanted)


class _Facts(Facts):
    """Nothing but the version is read of the facts: the shards say what they hold."""

    model_config = ConfigDict(extra="ignore")


class _Harvest(Manifest):
    """Any stage that left trace shards, with labels or without."""

    stage: Literal["harvest", "collect"] = "harvest"
    facts: _Facts


@dataclass(frozen=True)
class RunTraces:
    """The traces of one split, read when needed; iterating holds a few row groups in memory, however many there are.

    Iterating yields each sample as a :class:`SampleTrace`: ``z`` float16 [T, L, E], the raw router logits of its final
    user turn, of the tokens up to the reply, and of the reply, as far as these were recorded; ``selected`` [T, L, K],
    the experts that the model itself selected; ``label`` 1 where its own reply shows the behaviour, 0 where it does
    not, None where that is not known. Where no logits were kept, z is [T, 0, E].
    """

    _storage: Storage
    _manifest: Manifest
    split: Split | None

    @property
    def url(self) -> str:
        """The folder of the harvest."""
        return self._storage.locate(self._manifest.prefix)

    @property
    def spec(self) -> RouterSpec:
        """The routers of the model: L is ``n_layers``, at the depths ``layer_ids``, E is ``n_experts``."""
        return spec_in(self.layout)

    @cached_property
    def layout(self) -> TraceLayout:
        """What the shards hold: ``layers``, ``spans``, ``keeps``, and the ``checkpoint`` that was recorded."""
        return self._first.layout

    @cached_property
    def files(self) -> list[str]:
        """The path or URL of each shard, for tools that read Parquet themselves. They are not checked."""
        return self._shards.urls()

    @property
    def sizes(self) -> dict[str, int]:
        """The stored bytes of each shard, by name."""
        return {name: shard.bytes for name, shard in self._shards.shards.items()}

    def shards(self) -> Iterator[tuple[str, bytes | Path]]:
        """Name and checked content of each shard, or its local path."""
        for name in self._shards.shards:
            yield name, self._shards.content(name)

    def stored(self) -> StoredTraces:
        """The samples for training: whole, shuffled, in bounded memory, of some layers or spans alone."""
        return self._shards.stored()

    def statistics(self) -> TraceStatistics:
        """Numbers of tokens and selections by class and span, and the spread of the logits, from the footers alone."""
        found = [file.statistics for file in self._open()]
        return sum(found[1:], start=found[0])

    def counts(self) -> "pl.LazyFrame":
        """How often each expert was selected, from the footers alone, as :meth:`statistics` reads them.

        One row for each ``class`` (negative, positive, unlabelled) and ``span`` (question, prompt, reply) that has
        tokens, each kept ``layer`` (depth in the model) and each ``expert``: ``tokens`` of class and span, and how many
        of them ``selected`` the expert.
        """
        return counts_table(self.statistics(), self.depths)

    @property
    def depths(self) -> list[int]:
        """The depths in the model of the kept MoE layers."""
        return [self.layout.layer_ids[layer] for layer in self.layout.layers]

    def __iter__(self) -> Iterator[SampleTrace]:
        """The samples, in stored order."""
        for part in self.stored().parts():
            yield from samples_of(part)

    def __len__(self) -> int:
        """The number of samples."""
        return sum(shard.rows for shard in self._shards.shards.values())

    def to_torch(self) -> TraceSet:
        """All samples in memory, as tensors; ``padded`` of it makes rectangular ones."""
        return joined(list(self.stored().parts()))

    def to_polars(self) -> "pl.LazyFrame":
        """One row for each sample, token, layer and expert, read while the query runs.

        Columns: ``sample`` (id of the conversation), ``label`` (1, 0 or null), ``token`` (place in the recorded part,
        from 0), ``region`` (question, prompt or reply), ``layer`` (depth in the model), ``expert``, ``logit`` (before
        any selection; null where none was kept), ``selected`` (whether the model selected the expert for the token).
        :meth:`counts` and ``polars.scan_parquet(traces.files)`` answer most questions without as many rows. Raises
        DataError if counts alone were kept.
        """
        import polars as pl
        from polars.io.plugins import register_io_source

        if self.layout.keeps == "counts":
            raise DataError("these traces keep counts alone: look at them with `counts()`")
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
            used = [*(columns or schema), *([] if predicate is None else predicate.meta.root_names())]
            stored = self.stored() if "logit" in used else self.stored().without_logits()
            for part in stored.parts():
                for frame in _frames(part, self.depths, schema):
                    shown = frame if left is None else frame.head(left)
                    left = None if left is None else left - shown.height
                    chosen = shown if predicate is None else shown.filter(predicate)
                    yield chosen if columns is None else chosen.select(columns)
                    if left == 0:
                        return

        return register_io_source(read, schema=schema)

    def __repr__(self) -> str:
        of_split = "" if self.split is None else f", {self.split}"
        size = f"{self.spec.family} {self.spec.n_layers} x {self.spec.n_experts}"
        return f"RunTraces({self._manifest.name}{of_split}: {len(self)} samples, {size})"

    @cached_property
    def _shards(self) -> TraceShards:
        return TraceShards(self._storage, self._manifest, self.split)

    @cached_property
    def _first(self) -> ShardFile:
        return next(self._open())

    def _open(self) -> Iterator[ShardFile]:
        """Each shard, open; none is read beyond its footer."""
        for name in self._shards.shards:
            yield ShardFile(self._shards.parts(name), name)


def _harvest_at(url: str, run: str | None) -> tuple[Storage, str]:
    """The storage, and the prefix of the harvest stage in it."""
    match = None if run is not None else _ADDRESS.fullmatch(url)
    if match is None:
        storage = Storage.open_to_read(url)
        collection = _collection(storage, run)
        if collection is not None:
            return storage, collection.prefix
        folder = find_run(storage, run).folder
    else:
        storage = Storage.open_to_read(match["storage"] if match["storage"] is not None else ".")
        if match["kind"] != "runs":
            return storage, f"{match['kind']}/{match['name']}"
        folder = RunFolder(match["name"])
    stages = read_inputs(storage, folder).stages
    if "harvest" not in stages:
        raise DataError(f"{storage.locate(folder.prefix)} has no harvest: its run recorded no traces")
    return storage, stages["harvest"]


def _collection(storage: Storage, name: str | None) -> StoredCollection | None:
    """The collection of this name, if there is one; without a name the latest, if there is no run.

    Raises DataError if collections alone are there, and none of this name.
    """
    if name is None:
        return None if storage.list(RUNS) else next(iter(stored_collections(storage)), None)
    wanted, found = name.strip("/").removeprefix(f"{COLLECT}/"), stored_collections(storage)
    for collection in found:
        if collection.name == wanted:
            return collection
    if found and not storage.list(RUNS):
        there = ", ".join(collection.name for collection in found)
        raise DataError(f"there is no collection {wanted} under {storage.url}, and no run; there are: {there}")
    return None


def _frames(part: TraceSet, depths: Sequence[int], schema: Mapping[str, Any]) -> Iterator["pl.DataFrame"]:
    """The rows of a part, a few tokens at a time."""
    import polars as pl

    ids, regions = pl.Series(part.ids, dtype=pl.String), pl.Series(REGIONS, dtype=schema["region"])
    n_layers, n_experts = len(depths), part.z.shape[2]
    labels_N = pl.Series(part.labels.numpy()).replace(UNLABELLED, None)
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
                "label": labels_N.gather(by_token(sample_T)),
                "token": by_token(chosen_T - part.offsets[sample_T]),
                "region": regions.gather(by_token(part.regions[chosen_T])),
                "layer": torch.tensor(depths).repeat_interleave(n_experts).repeat(len(chosen_T)).numpy(),
                "expert": torch.arange(n_experts).repeat(n_layers * len(chosen_T)).numpy(),
                "logit": part.z[chosen_T].float().flatten().numpy() if part.z.shape[1] else None,
                "selected": selected_TLE[..., :n_experts].flatten().numpy(),
            }
        ).cast(pl.Schema(schema))
