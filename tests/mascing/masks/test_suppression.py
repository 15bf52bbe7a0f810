import pytest
import torch
from pydantic import ValidationError

from mascing.errors import DataError
from mascing.masks.suppression import suppressing, suppression_order
from mascing.routers.spec import find_routers, inspect_routers
from mascing.schemas.config import AuditConfig
from mascing.steering.steer import steer
from tests.mascing.routers.families.selections import captured
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens

SCORE = torch.arange(24.0).view(3, 8)
"""Of 3 layers and 8 experts: the last layer is ranked first."""


def test_the_highest_scores_go_first_and_every_layer_keeps_its_top_k() -> None:
    order = suppression_order(SCORE, find_routers(tiny_olmoe()))
    assert order[:7] == [(2, 7), (2, 6), (2, 5), (2, 4), (2, 3), (2, 2), (1, 7)]
    assert len(order) == 3 * 6
    assert all(sum(layer == ranked_layer for ranked_layer, _ in order) == 6 for layer in range(3))


def test_those_that_are_to_go_first_do_and_count_for_what_a_layer_keeps() -> None:
    order = suppression_order(SCORE, find_routers(tiny_olmoe()), first=[(0, 3), (2, 0), (2, 1)])
    assert order[:8] == [(0, 3), (2, 0), (2, 1), (2, 7), (2, 6), (2, 5), (2, 4), (1, 7)]
    assert len({*order}) == len(order) == 3 * 6


def test_a_suppressed_expert_is_never_selected() -> None:
    model = tiny_olmoe()
    spec, routers = inspect_routers(model), find_routers(model)
    order = suppression_order(torch.rand(SCORE.shape, generator=torch.Generator().manual_seed(0)), routers)
    with steer(model, suppressing(order, 18, spec)), captured(model) as layers, torch.no_grad():
        model(tokens(4, 16))
    selected = {(layer, expert) for layer, of in enumerate(layers) for chosen in of.selections for expert in chosen}
    assert selected
    assert not selected & set(order)


def test_more_experts_than_can_be_off_are_refused() -> None:
    model = tiny_olmoe()
    order = suppression_order(SCORE, find_routers(model))
    with pytest.raises(DataError, match="at most 18 of 24"):
        suppressing(order, 19, inspect_routers(model))


@pytest.mark.parametrize(
    "wrong", [{"ranking": "risk_difference", "set": "protected/x"}, {"n_suppressed": (2, 1)}, {"set": "utility/benign"}]
)
def test_an_audit_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AuditConfig(**wrong)  # type: ignore[arg-type]
