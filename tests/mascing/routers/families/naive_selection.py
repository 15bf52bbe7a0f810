"""Each family's expert selection, written from its definition: one token at a time, plain Python numbers.

Every function takes a token's router logits, the layer's correction (zeros where there is none) and the config, and
returns the selected experts with their weights.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

Selection = dict[int, float]
Select = Callable[[Sequence[float], Sequence[float], Any], Selection]


def softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def best(scores: Sequence[float], count: int, among: Sequence[int] | None = None) -> list[int]:
    candidates = range(len(scores)) if among is None else among
    return sorted(candidates, key=lambda expert: -scores[expert])[:count]


def softmax_then_top_k(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    probabilities = softmax(logits)
    return {expert: probabilities[expert] for expert in best(probabilities, config.num_experts_per_tok)}


def softmax_then_top_k_renormalised(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    return _renormalised(softmax_then_top_k(logits, correction, config))


def renormalised_if_configured(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    chosen = softmax_then_top_k(logits, correction, config)
    return _renormalised(chosen) if config.norm_topk_prob else chosen


def hunyuan(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    probabilities = softmax(logits)
    return _renormalised({expert: probabilities[expert] for expert in best(probabilities, config.moe_topk[0])})


def dbrx(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    probabilities = softmax(logits)
    return _renormalised({expert: probabilities[expert] for expert in best(probabilities, config.ffn_config.moe_top_k)})


def top_k_then_softmax(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    chosen = best(logits, config.num_experts_per_tok)
    return dict(zip(chosen, softmax([logits[expert] for expert in chosen]), strict=True))


def sparsemixer(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    """Two rounds; each takes the best expert left and weighs it among those within a relative margin of it."""
    left = list(range(len(logits)))
    chosen: Selection = {}
    for _ in range(2):
        expert = best(logits, 1, left)[0]
        top = logits[expert]
        near = [e for e in left if (top - logits[e]) / max(abs(logits[e]), top) <= 2 * config.router_jitter_noise]
        chosen[expert] = softmax([logits[e] for e in near])[near.index(expert)]
        left.remove(expert)
    return chosen


def group_limited_softmax(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    probabilities = softmax(logits)
    groups = _groups(len(logits), config.n_group)
    kept_groups = sorted(groups, key=lambda group: -max(probabilities[e] for e in group))[: config.topk_group]
    chosen = best(probabilities, config.num_experts_per_tok, [expert for group in kept_groups for expert in group])
    return {expert: probabilities[expert] * config.routed_scaling_factor for expert in chosen}


def sigmoid_with_correction_in_groups(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    scores = [sigmoid(value) for value in logits]
    corrected = [score + c for score, c in zip(scores, correction, strict=True)]
    groups = _groups(len(logits), config.n_group)
    kept_groups = sorted(groups, key=lambda group: -sum(sorted((corrected[e] for e in group), reverse=True)[:2]))
    allowed = [expert for group in kept_groups[: config.topk_group] for expert in group]
    chosen = {expert: scores[expert] for expert in best(corrected, config.num_experts_per_tok, allowed)}
    if config.norm_topk_prob:
        chosen = _renormalised(chosen)
    return {expert: weight * config.routed_scaling_factor for expert, weight in chosen.items()}


def sigmoid_with_correction(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    scores = [sigmoid(value) for value in logits]
    corrected = [score + c for score, c in zip(scores, correction, strict=True)]
    return _renormalised({expert: scores[expert] for expert in best(corrected, config.num_experts_per_tok)})


def softmax_with_correction(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    probabilities = softmax(logits)
    corrected = [p + c for p, c in zip(probabilities, correction, strict=True)]
    chosen = {expert: probabilities[expert] for expert in best(corrected, config.moe_k)}
    total = max(sum(chosen.values()), config.moe_norm_min)
    return {expert: weight / total for expert, weight in chosen.items()}


def sigmoid_with_correction_beside_shared_experts(
    logits: Sequence[float], correction: Sequence[float], config: Any
) -> Selection:
    """Inkling: the last logits are those of shared experts, which take their part of the weight and always run."""
    scores = [sigmoid(value) for value in logits]
    corrected = [score + c for score, c in zip(scores, correction, strict=False)]
    chosen = {expert: scores[expert] for expert in best(corrected, config.num_experts_per_tok)}
    total = sum(chosen.values()) + sum(scores[-config.n_shared_experts :])
    return {expert: weight / total * config.route_scale for expert, weight in chosen.items()}


def softmax_with_correction_and_zero_experts(
    logits: Sequence[float], correction: Sequence[float], config: Any
) -> Selection:
    """Longcat: the last logits are those of zero experts, which are selected like any other."""
    probabilities = softmax(logits)
    corrected = [p + c for p, c in zip(probabilities, correction, strict=True)]
    return {expert: probabilities[expert] * config.routed_scaling_factor for expert in best(corrected, config.moe_topk)}


def sigmoid_in_groups_over_zero(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    return _in_groups_over_zero([sigmoid(value) for value in logits], correction, config)


def softmax_in_groups_over_zero(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    return _in_groups_over_zero(softmax(logits), [0.0] * len(logits), config)


def _in_groups_over_zero(scores: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    """Experts outside the groups kept stay in the race, with a score of zero."""
    corrected = [score + c for score, c in zip(scores, correction, strict=True)]
    groups = _groups(len(scores), config.n_group)
    kept_groups = sorted(groups, key=lambda group: -sum(sorted((corrected[e] for e in group), reverse=True)[:2]))
    allowed = {expert for group in kept_groups[: config.topk_group] for expert in group}
    raced = [score if expert in allowed else 0.0 for expert, score in enumerate(corrected)]
    chosen = _renormalised({expert: scores[expert] for expert in best(raced, config.num_experts_per_tok)})
    return {expert: weight * config.routed_scaling_factor for expert, weight in chosen.items()}


def gemma4(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    probabilities = softmax(logits)
    return _renormalised({expert: probabilities[expert] for expert in best(probabilities, config.top_k_experts)})


def top_k_then_sigmoid(logits: Sequence[float], correction: Sequence[float], config: Any) -> Selection:
    return {expert: sigmoid(logits[expert]) for expert in best(logits, config.num_experts_per_tok)}


def _renormalised(chosen: Selection) -> Selection:
    total = sum(chosen.values())
    return {expert: weight / total for expert, weight in chosen.items()}


def _groups(experts: int, number: int) -> list[list[int]]:
    size = experts // number
    return [list(range(start, start + size)) for start in range(0, experts, size)]


SELECT: dict[str, Select] = {
    "qwen3_moe": renormalised_if_configured,
    "qwen2_moe": renormalised_if_configured,
    "qwen3_next": renormalised_if_configured,
    "qwen3_5_moe": softmax_then_top_k_renormalised,
    "mixtral": softmax_then_top_k_renormalised,
    "phimoe": sparsemixer,
    "olmoe": renormalised_if_configured,
    "flex_olmo": renormalised_if_configured,
    "gpt_oss": top_k_then_softmax,
    "hunyuan_v1_moe": hunyuan,
    "deepseek_v2": group_limited_softmax,
    "deepseek_v3": sigmoid_with_correction_in_groups,
    "glm4_moe": sigmoid_with_correction_in_groups,
    "dots1": sigmoid_with_correction_in_groups,
    "granitemoe": top_k_then_softmax,
    "ernie4_5_moe": softmax_with_correction,
    "minimax": softmax_then_top_k_renormalised,
    "minimax_m2": sigmoid_with_correction,
    "llama4_text": top_k_then_sigmoid,
    "jamba": softmax_then_top_k,
    "dbrx": dbrx,
    "gemma4_text": gemma4,
    "longcat_flash": softmax_with_correction_and_zero_experts,
    "inkling_text": sigmoid_with_correction_beside_shared_experts,
    "axk2": sigmoid_in_groups_over_zero,
    "mistral4": softmax_in_groups_over_zero,
    "lfm2_moe": sigmoid_with_correction,
    "deepseek": renormalised_if_configured,
}
