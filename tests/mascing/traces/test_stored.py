from pathlib import Path

import pytest
import torch

from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.circuits.surrogate_search.search import search
from mascing.errors import DataError
from mascing.schemas.settings.method_settings import MascingConfig
from mascing.surrogates.surrogate import score, to_bytes, train_surrogate
from mascing.traces import shards as trace_shards
from mascing.traces import stored as stored_traces
from mascing.traces.shards import encode
from mascing.traces.stored import StoredTraces
from mascing.traces.trace_set import SampleTrace, Traces, TraceSet, random_sample, shuffled_batches
from tests.mascing.made_traces import SPEC, traces


@pytest.fixture(scope="module")
def data() -> TraceSet:
    return traces(40)


def shards_of(data: TraceSet, rows: int = 10) -> dict[str, bytes]:
    samples = [
        SampleTrace(data.ids[i], data.groups[i], int(data.labels[i]), sample.z, sample.regions, sample.selected)
        for i, sample in ((i, data.subset([i])) for i in range(len(data)))
    ]
    return {f"{start}": encode(samples[start : start + rows], SPEC) for start in range(0, len(samples), rows)}


class Shards:
    """Shards in memory that count how often each is read."""

    def __init__(self, data: TraceSet, rows: int = 10) -> None:
        self.shards = shards_of(data, rows)
        self.reads: list[str] = []

    def read(self, name: str) -> bytes:
        self.reads.append(name)
        return self.shards[name]

    def traces(self) -> StoredTraces:
        return StoredTraces(self.read, {name: len(shard) for name, shard in self.shards.items()})


def all_ids(source: Traces) -> list[str]:
    return [name for part in source.parts() for name in part.ids]


@pytest.mark.parametrize("window", [1, 2**26])
def test_stored_traces_are_the_traces(data: TraceSet, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", window)
    stored = Shards(data).traces()
    assert len(list(stored.parts())) == (4 if window == 1 else 1)
    assert all_ids(stored) == data.ids
    assert torch.equal(torch.cat([part.z for part in stored.parts()]), data.z)
    assert torch.equal(torch.cat([part.selected for part in stored.parts()]), data.selected)
    assert torch.equal(torch.cat([part.labels for part in stored.parts()]), data.labels)
    assert all_ids(stored.labelled(1)) == data.labelled(1).ids
    questions = torch.cat([part.z for part in stored.labelled(0).span("question").parts()])
    assert torch.equal(questions, data.labelled(0).span("question").z)
    counts = [count_selections(source) for source in (stored, data)]
    assert torch.equal(counts[0].selected_SLE, counts[1].selected_SLE)
    assert torch.equal(counts[0].tokens_SL, counts[1].tokens_SL)


def test_no_more_is_in_memory_than_a_few_windows(data: TraceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards(data, rows=5)
    window = 2 * max(data.offsets.diff().tolist()) * 5 * 55  # two shards of five samples; a token takes 55 bytes
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", window)
    parts = shards.traces().parts()
    assert len(next(parts)) >= 10
    assert len(shards.reads) <= 4 + 2  # those of this window and of the next
    assert sum(map(len, parts)) < 40
    assert len(shards.reads) == 8


def test_a_random_order_mixes_row_groups_of_several_shards_in_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    made = traces(80)
    monkeypatch.setattr(trace_shards, "ROW_GROUP_BYTES", 1)  # every sample is a row group
    shards = Shards(made, rows=20)
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", 10 * 7 * 55)
    monkeypatch.setattr(stored_traces, "MIXED_BYTES", 2 * max(map(len, shards.shards.values())))
    parts = list(shards.traces().parts(torch.Generator().manual_seed(0)))
    assert sorted(name for part in parts for name in part.ids) == sorted(made.ids)
    mixed = [{int(name) // 20 for name in part.ids} for part in parts]
    assert sum(len(shards_in) == 2 for shards_in in mixed) > len(mixed) / 2
    again = [part.ids for part in shards.traces().parts(torch.Generator().manual_seed(0))]
    assert again == [part.ids for part in parts]


def test_a_local_file_is_read_as_its_bytes_are(data: TraceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", 1)
    shards = Shards(data)
    for name, shard in shards.shards.items():
        (tmp_path / name).write_bytes(shard)
    local = StoredTraces(lambda name: tmp_path / name, shards.traces().sizes)
    orders = [
        [(part.ids, part.z.tolist()) for part in stored.parts(torch.Generator().manual_seed(5))]
        for stored in (local, shards.traces())
    ]
    assert orders[0] == orders[1]


def test_some_layers_or_the_selections_alone(data: TraceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", 1)
    stored = Shards(data).traces()
    two = stored.layers((0, 2)).span("question")
    assert torch.equal(torch.cat([part.z for part in two.parts()]), data.span("question").z[:, [0, 2]])
    assert torch.equal(torch.cat([part.selected for part in two.parts()]), data.span("question").selected[:, [0, 2]])
    bare = list(stored.without_logits().parts())
    assert torch.equal(torch.cat([part.selected for part in bare]), data.selected)
    assert {tuple(part.z.shape[1:]) for part in bare} == {(0, 8)}
    with pytest.raises(DataError, match="no MoE layer 3: they keep 0, 1, 2"):
        next(stored.layers((3,)).parts())


def test_a_shard_that_is_damaged_later_ends_the_reading_with_its_name(
    data: TraceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", 1)
    shards = Shards(data)
    damaged = bytearray(shards.shards["20"])
    damaged[damaged.find(b"PAR1") + 200] ^= 1
    shards.shards["20"] = bytes(damaged)
    with pytest.raises(DataError, match=r"20.*(damaged|checksum)"):
        list(shards.traces().parts())


def test_a_random_order_draws_other_windows_every_time_and_every_sample_once(
    data: TraceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", 1)
    order = torch.Generator().manual_seed(0)
    stored = Shards(data).traces()
    orders = [
        [part.ids[index] for part, chosen in shuffled_batches(stored, 3, order) for index in chosen.tolist()]
        for _ in range(2)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(data.ids)


def test_a_random_sample_is_as_small_as_asked_and_does_not_depend_on_the_windows(
    data: TraceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = random_sample(data, 5, 60, torch.Generator().manual_seed(0))
    assert len(drawn) >= 5
    assert len(drawn.z) >= 60
    assert len(drawn) == 5 or len(drawn.z) - len(drawn.subset([len(drawn) - 1]).z) < 60
    monkeypatch.setattr(stored_traces, "WINDOW_BYTES", 1)
    repeated = random_sample(Shards(data).traces(), 5, 60, torch.Generator().manual_seed(0))
    assert repeated.ids == drawn.ids
    assert torch.equal(repeated.z, drawn.z)
    assert random_sample(data, 5, 60, torch.Generator().manual_seed(1)).ids != drawn.ids
    assert sorted(random_sample(data, 99, 1, torch.Generator()).ids) == sorted(data.ids)


def test_what_fits_is_read_once_and_gives_what_memory_gives(data: TraceSet) -> None:
    shards = Shards(data)
    stored = shards.traces()
    from_storage, from_memory = (train_surrogate(source, epochs=3, seed=0) for source in (stored, data))
    assert shards.reads == list(shards.shards)
    assert to_bytes(from_storage) == to_bytes(from_memory)
    assert torch.equal(score(from_storage, stored), score(from_memory, data))
    config = MascingConfig()
    masks = [search([from_memory], source, data.sigma(), config, 0) for source in (stored, data)]
    assert torch.equal(masks[0], masks[1])
