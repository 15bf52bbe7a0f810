from hypothesis import given
from hypothesis import strategies as st

from mascing.models.batching import length_sorted_batches, right_padded


@given(st.lists(st.integers(1, 900), max_size=80), st.integers(1, 2000))
def test_batches_hold_every_prompt_once_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    batches = length_sorted_batches(lengths, batch_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= batch_tokens
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)


def test_batches_are_as_full_as_the_budget_allows() -> None:
    assert length_sorted_batches([5, 10, 5, 9], 20) == [[1, 3], [0, 2]]


def test_padding_stands_on_the_right() -> None:
    assert right_padded([[7, 8], [9]]).tolist() == [[7, 8], [9, 0]]
