import torch

from mascing.traces.counting import selections


def test_selections_are_counted_by_row_and_layer_and_those_of_no_expert_are_not() -> None:
    n_experts, n_rows = 5, 3
    generator = torch.Generator().manual_seed(0)
    selected_TLK = torch.randint(n_experts + 1, (40, 2, 3), generator=generator, dtype=torch.uint8)
    row_T = torch.randint(n_rows - 1, (40,), generator=generator)  # the last row has no token
    expected_LRE = torch.zeros(2, n_rows, n_experts, dtype=torch.long)
    for token in range(40):
        for layer in range(2):
            for expert in selected_TLK[token, layer].tolist():
                if expert < n_experts:
                    expected_LRE[layer, row_T[token], expert] += 1
    counted = torch.stack([*selections(selected_TLK, row_T, n_rows, n_experts)])
    assert counted.equal(expected_LRE)
