from mascing.surrogates.ensemble import member_seeds


def test_the_first_member_has_the_seed_itself_and_nearby_runs_share_no_member() -> None:
    assert member_seeds(7, 3)[0] == 7
    seeds = [seed for run in range(100) for seed in member_seeds(run, 5)]
    assert len(set(seeds)) == 500
