"""Lessons: what is written down is what is drawn, and no more than a number of unsteered traces is kept."""

from collections.abc import Iterator
from tempfile import TemporaryFile

import pytest
import torch

from mascing.circuits.active.learning import learn
from mascing.circuits.active.lessons import Lessons
from mascing.circuits.active.trials import Trial
from mascing.routers.spec import RouterSpec
from mascing.surrogates.surrogate import untrained
from mascing.traces.trace_set import TraceSet, offsets

SPEC = RouterSpec("made-up", (0, 1), 8, 2, "softmax")
CPU = torch.device("cpu")


@pytest.fixture
def lessons() -> Iterator[Lessons]:
    with TemporaryFile() as file:
        yield Lessons(SPEC, file)


def traces(n: int) -> TraceSet:
    """Trace i has 1 + i % 3 tokens, all of whose logits are i; the odd ones are positive."""
    counts = [1 + number % 3 for number in range(n)]
    z_TLE = torch.arange(n).repeat_interleave(torch.tensor(counts)).half()[:, None, None].expand(-1, 2, 8)
    tokens = len(z_TLE)
    names = [str(number) for number in range(n)]
    regions, selected = torch.zeros(tokens, dtype=torch.uint8), torch.zeros(tokens, 2, 2, dtype=torch.uint8)
    return TraceSet(z_TLE, offsets(counts), torch.arange(n) % 2, regions, names, names, selected)


def drawn(lessons: Lessons, n: int = 2000, wanted: bool = False) -> list[tuple[int, int, float]]:
    """Logit, number of tokens and outcome of the lessons that come up."""
    batch = lessons.drawn(n, torch.Generator().manual_seed(0), CPU, wanted=wanted)
    assert not batch.z_NTLE[~batch.mask_NT].any()
    values = batch.z_NTLE[:, 0, 0, 0].int().tolist()
    return sorted(set(zip(values, batch.mask_NT.sum(dim=1).tolist(), batch.hit_N.tolist(), strict=True)))


def test_what_is_written_down_is_drawn(lessons: Lessons) -> None:
    lessons.add_unsteered(traces(6), 100, torch.Generator())
    bias_LE = torch.ones(2, 8)
    trial = Trial("hit", torch.full((5, 2, 8), 9.0).half())
    lessons.add([lessons.of(trial, bias_LE)])
    assert drawn(lessons) == [(n, 1 + n % 3, float(n % 2)) for n in range(6)] + [(9, 5, 1.0)]
    # A mask must bring a hit where the model has none, and in every trial.
    assert drawn(lessons, wanted=True) == [(0, 1, 0.0), (2, 3, 0.0), (4, 2, 0.0), (9, 5, 1.0)]


def test_of_many_traces_a_random_few_are_kept(lessons: Lessons) -> None:
    kept: list[set[int]] = []
    for seed in range(40):
        with TemporaryFile() as file:
            few = Lessons(SPEC, file)
            few.add_unsteered(traces(30), 10, torch.Generator().manual_seed(seed))
            kept.append({value for value, _, _ in drawn(few, 500)})
    assert {len(values) for values in kept} == {10}
    assert all(3 <= sum(number in values for values in kept) <= 25 for number in range(30))


def test_members_learn_where_they_are(lessons: Lessons) -> None:
    """No GPU is needed to see that nothing is left behind on the CPU: the meta device refuses to be mixed."""
    lessons.add_unsteered(traces(6), 100, torch.Generator())
    learn([untrained(8, 2, 0).to("meta")], lessons, 2, torch.Generator())
