"""What an override can force in a router that first keeps some groups of experts and then selects among those.

``groups`` is always (number of groups, groups kept); the experts of a group are neighbours. Shape suffixes: E expert,
G group.
"""

from torch import Tensor

Groups = tuple[int, int]


def group_complaint(activated_E: Tensor, deactivated_E: Tensor, groups: Groups, top_k: int) -> str | None:
    """Say why a layer's override (bool [E]) cannot hold for every token, or return None if it can."""
    n_groups, n_kept = groups
    n_forced = _groups_forced(activated_E, n_groups)
    if n_forced > n_kept:
        return (
            f"it activates experts in {n_forced} groups, but a token keeps {n_kept} of {n_groups} groups: activate "
            "experts of fewer groups"
        )
    left = _fewest_left(deactivated_E, groups)
    if left < top_k:
        return (
            f"a token keeps {n_kept} of {n_groups} groups of experts, and {n_kept} of them would have {left} experts "
            f"left of the {top_k} to select, so that off could not mean off: deactivate fewer experts"
        )
    return None


def activated_within(activated_E: Tensor, priority_E: Tensor, groups: Groups) -> Tensor:
    """The activated experts, bool [E], of as many groups as are kept; those of the highest priority come first."""
    taken_E = activated_E.new_zeros(activated_E.shape)
    for expert in priority_E.argsort(descending=True, stable=True).tolist():
        if activated_E[expert]:
            taken_E[expert] = True
            taken_E[expert] = _groups_forced(taken_E, groups[0]) <= groups[1]
    return taken_E


def deactivated_within(deactivated_E: Tensor, priority_E: Tensor, groups: Groups, top_k: int) -> Tensor:
    """The deactivated experts, bool [E], that leave ``top_k`` in any kept groups; the lowest priority comes first."""
    taken_E = deactivated_E.new_zeros(deactivated_E.shape)
    for expert in priority_E.argsort(stable=True).tolist():
        if deactivated_E[expert]:
            taken_E[expert] = True
            taken_E[expert] = _fewest_left(taken_E, groups) >= top_k
    return taken_E


def _groups_forced(activated_E: Tensor, n_groups: int) -> int:
    return int(activated_E.view(n_groups, -1).any(-1).sum())


def _fewest_left(deactivated_E: Tensor, groups: Groups) -> int:
    """Experts that remain in the kept groups, if these are the groups with the fewest: which are kept depends on the
    token."""
    n_groups, n_kept = groups
    left_G = (~deactivated_E).view(n_groups, -1).sum(-1)
    return int(left_G.sort().values[:n_kept].sum())
