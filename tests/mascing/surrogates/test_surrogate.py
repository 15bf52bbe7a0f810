import pytest
import torch

from mascing.errors import DataError
from mascing.statistics.auc import auc
from mascing.surrogates.surrogate import Surrogate, from_bytes, score, to_bytes, train_surrogate
from tests.mascing.made_traces import traces


def test_it_learns_what_tells_the_classes_apart() -> None:
    learned = train_surrogate(traces(120, seed=1), epochs=15, seed=0)
    held_out = traces(80, seed=2)
    assert auc(score(learned, held_out), held_out.labels, held_out.groups).value > 0.93


def test_it_learns_nothing_from_noise() -> None:
    learned = train_surrogate(traces(120, seed=1, shift=0.0), epochs=15, seed=0)
    held_out = traces(200, seed=2, shift=0.0)
    area = auc(score(learned, held_out), held_out.labels, held_out.groups)
    assert area.low < 0.5 < area.high


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, repeated, other = (to_bytes(train_surrogate(traces(20), epochs=2, seed=seed)) for seed in (3, 3, 4))
    assert first == repeated
    assert first != other
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_sample_scores_the_same_whatever_longer_samples_stand_beside_it() -> None:
    mixed = traces(4, lengths=[3, 12, 5, 40])
    learned = train_surrogate(mixed, epochs=1, seed=0)
    alone = torch.cat([score(learned, mixed.subset([number])) for number in range(4)])
    assert torch.allclose(score(learned, mixed), alone, atol=1e-6)


def test_it_is_the_papers_form() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in Surrogate(8, 3).state_dict().items()}
    assert shapes["norm.weight"] == (8,)
    assert shapes["project.weight"] == (16, 8)
    assert shapes["lstm.weight_ih_l0"] == (4 * 64, 3 * 16)
    assert shapes["head.weight"] == (1, 64)


def test_bytes_bring_back_the_same_surrogate() -> None:
    learned = train_surrogate(traces(20), epochs=1, seed=0)
    back = from_bytes(to_bytes(learned))
    assert torch.equal(score(back, traces(20)), score(learned, traces(20)))
    assert to_bytes(back) == to_bytes(learned)


@pytest.mark.parametrize("data", [b"", b"junk" * 10])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a surrogate"):
        from_bytes(data)


def test_another_tensor_file_is_refused() -> None:
    from safetensors.torch import save

    with pytest.raises(DataError, match="not a surrogate"):
        from_bytes(save({"bias": torch.zeros(3, 8)}))


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(DataError, match="one class"):
        train_surrogate(traces(6).subset([0, 2, 4]), epochs=1, seed=0)


def test_a_surrogate_is_trained_on_the_device_that_is_named() -> None:
    """No GPU is needed to see that nothing is left behind on the CPU: the meta device refuses to be mixed."""
    assert train_surrogate(traces(20), epochs=1, seed=0, device="meta").device.type == "meta"
