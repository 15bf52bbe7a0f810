"""The benchmark figures that do not depend on the load of the machine."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mascing.models.batching import length_sorted_batches
from mascing.schemas.settings.method_settings import MascingConfig
from tests.bench.methods.search import case, searched
from tests.bench.streaming import SPEC, consume, local, written
from tests.bench.taps.random_moe import mixed_prompts, n_tokens
from tests.bench.taps.ways_of_recording import BATCH_TOKENS, USUAL_BATCH


def padded(lengths: list[int], batches: list[list[int]]) -> int:
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


def test_recording_computes_little_padding_where_the_usual_way_computes_half() -> None:
    prompts = mixed_prompts(512)
    lengths = [len(prompt.token_ids) for prompt in prompts]
    assert 90 <= sorted(lengths)[256] <= 110
    assert max(lengths) == 800
    ours = padded(lengths, length_sorted_batches(lengths, BATCH_TOKENS))
    in_order = [list(range(start, start + USUAL_BATCH)) for start in range(0, len(lengths), USUAL_BATCH)]
    assert ours / n_tokens(prompts) < 1.15
    assert padded(lengths, in_order) / n_tokens(prompts) > 2


def test_the_benchmarked_search_lowers_the_objective_on_traces_it_did_not_see() -> None:
    problem, config = case(16, 0, lengths=(4, 12)), MascingConfig(lambdas=(0.0, 1e-3))
    S_CLE = searched(problem, config)
    steered, unsteered = (problem.objectives(S, config.lambdas) for S in (S_CLE, 0 * S_CLE))
    assert all(low < high / 2 for low, high in zip(steered, unsteered, strict=True))


def test_four_of_48_layers_and_the_selections_are_an_eighth_of_the_stored_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = written(tmp_path, 1, each=12)  # one row group
    read: list[str] = []
    plain = pq.ParquetFile.read_row_group

    def noted(self: pq.ParquetFile, group: int, columns: list[str], **options: bool) -> object:
        read.extend(columns)
        return plain(self, group, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    assert consume(local([file]).layers((0, 12, 24, 36)).parts()) == 1
    metadata = pq.read_metadata(file).row_group(0)
    sizes = {
        column.path_in_schema: column.total_compressed_size
        for column in (metadata.column(number) for number in range(metadata.num_columns))
    }
    assert sum(sizes[name] for name in read) < file.stat().st_size / 8
    assert len([name for name in read if name.startswith("z_")]) == 4
    assert len(sizes) - 6 == SPEC.n_layers
