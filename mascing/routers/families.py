"""What the modules of an MoE family do not say about it: data only, keyed by transformers' ``model_type``."""

SCORING: dict[str, str] = {
    "qwen3_moe": "softmax-topk",
    "qwen2_moe": "softmax-topk",
    "qwen3_next": "softmax-topk",
    "qwen3_5_moe_text": "softmax-topk",
    "mixtral": "softmax-topk",
    "minimax": "softmax-topk",
    "olmoe": "softmax-topk",
    "flex_olmo": "softmax-topk",
    "phimoe": "sparsemixer",
    "gpt_oss": "topk-softmax",
    "granitemoe": "topk-softmax",
    "hunyuan_v1_moe": "softmax-topk",
    "deepseek_v2": "softmax-groups-topk",
    "deepseek_v3": "sigmoid-correction-groups-topk",
    "glm4_moe": "sigmoid-correction-groups-topk",
    "dots1": "sigmoid-correction-groups-topk",
    "minimax_m2": "sigmoid-correction-topk",
    "ernie4_5_moe": "softmax-correction-topk",
    "llama4_text": "topk-sigmoid",
    "jamba": "softmax-topk",
    "dbrx": "softmax-topk",
    "gemma4_text": "softmax-topk",
    "longcat_flash": "softmax-correction-topk",
    "inkling_text": "sigmoid-correction-topk",
    "axk2": "sigmoid-correction-groups-topk",
    "mistral4": "softmax-groupsums-topk",
    "lfm2_moe": "sigmoid-correction-topk",
}
"""How router logits become a selection. An unlisted family can still be steered if its taps pass their proof."""

UNLISTED = "unlisted"

ROUTER_CLASSES: dict[str, str] = {
    "deepseek_v2": "DeepseekV2TopkRouter",
    "deepseek_v3": "DeepseekV3TopkRouter",
    "glm4_moe": "Glm4MoeTopkRouter",
    "dots1": "Dots1TopkRouter",
    "granitemoe": "GraniteMoeTopKRouter",
    "hunyuan_v1_moe": "HunYuanMoEV1Gate",
    "llama4_text": "Llama4Router",
    "dbrx": "DbrxRouter",
    "longcat_flash": "LongcatFlashTopkRouter",
    "inkling_text": "InklingTopkRouter",
    "axk2": "AXK2TopkRouter",
    "mistral4": "Mistral4TopkRouter",
    "lfm2_moe": "Lfm2MoeTopKRouter",
}
"""Classes of the routers that transformers records as ``router_logits`` from 5.19 on. Older releases record no router
of these families, or the whole block around it."""

IMPLIED_SETTINGS: dict[str, dict[str, float]] = {"gpt_oss": {"swiglu_alpha": 1.702, "swiglu_limit": 7.0}}
"""Config fields that older releases of transformers lack, with the values that their code uses."""

DERIVED_SETTINGS: dict[str, tuple[str, ...]] = {"longcat_flash": ("num_hidden_layers",)}
"""Config fields that older releases of transformers write, and newer ones derive from others."""

RENAMED_VALUES: dict[str, str] = {"deepseek_sparse_attention": "indexed_attention"}
"""Values of config fields in older releases of transformers, with their names from 5.18 on."""

TOP_K_FIELDS: dict[str, str] = {"gemma4_text": "top_k_experts"}
"""Config fields with the number of selected experts, for families whose modules do not say it."""

OTHER_COLUMNS: dict[str, str] = {"longcat_flash": "zero_expert_num", "inkling_text": "n_shared_experts"}
"""Config fields with the number of logits that follow those of the experts: of places that lead to no expert (longcat),
or of shared experts, which run for every token (inkling). No mask touches them."""

UNSUPPORTED: dict[str, str] = {
    "doge": "it routes with factored keys, so no router weight has one row per expert",
}
"""Families that a bias on router logits cannot steer, with the reason."""

CORRECTION_NAMES = ("e_score_correction_bias", "expert_bias")
"""Names of the vector that is added to the scores only for selection (routing weights use the uncorrected scores)."""
