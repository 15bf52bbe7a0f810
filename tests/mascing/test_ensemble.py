import torch
from made_traces import traces

from mascing.ensemble import ensemble_score, member_seeds
from mascing.surrogate import score, train_surrogate


def test_the_first_member_has_the_seed_itself_and_nearby_runs_share_no_member() -> None:
    assert member_seeds(7, 3)[0] == 7
    seeds = [seed for run in range(100) for seed in member_seeds(run, 5)]
    assert len(set(seeds)) == 500


def test_an_ensemble_scores_by_the_mean_logit_of_its_members() -> None:
    members = [train_surrogate(traces(20), epochs=1, seed=seed) for seed in member_seeds(0, 2)]
    data = traces(10, seed=1)
    first, second = (score(member, data) for member in members)
    assert not torch.equal(first, second)
    assert torch.allclose(ensemble_score(members, data), (first + second) / 2)
