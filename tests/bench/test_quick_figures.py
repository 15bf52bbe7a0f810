"""The benchmark figures that do not depend on the load of the machine."""

from mascing.models.batching import length_sorted_batches
from mascing.schemas.settings.method_settings import MascingConfig
from tests.bench.methods.search import case, searched
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
