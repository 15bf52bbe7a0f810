"""Split the feed-forward layers of a Llama into the experts of a Mixtral; the attention stays as it is.

The split goes layer by layer, on the hidden states after the layers already split. It groups neurons by co-activation,
fits a router to the contribution of each group, and refits the down projection with the router active. So each layer
also compensates for the losses of the layers before it.
Shape suffixes: B row of text, T token, N token of all rows, H hidden, F neuron, E expert.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from mascing.testbeds.smollm.fitting import fit_router, gains, refit_down
from mascing.testbeds.smollm.grouping import coactivation_groups


@dataclass(frozen=True)
class SplitLayer:
    """A feed-forward layer as experts: gate and up [F, H], down [H, F], router [E, H], neurons in expert order."""

    gate: Tensor
    up: Tensor
    down: Tensor
    router: Tensor


@torch.no_grad()
def split(
    dense: LlamaForCausalLM,
    text_BT: Tensor,
    n_experts: int,
    top_k: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> MixtralForCausalLM:
    """Return a Mixtral that approximates ``dense`` as closely as ``top_k`` of ``n_experts`` experts allow.

    ``text_BT`` are token ids for calibration, in rows without padding. With all experts on and no loss, the refitted
    layers equal those of ``dense``. ``progress(done, total)`` counts layers. Raises ValueError if the neurons of a
    layer cannot be divided equally among the experts.
    """
    decoder = dense.model
    hidden_BTH = decoder.embed_tokens(text_BT)
    positions = decoder.rotary_emb(hidden_BTH, torch.arange(text_BT.shape[1])[None])
    whole_BTH, layers = hidden_BTH, []
    for index, layer in enumerate(decoder.layers):
        whole_BTH = _attended(layer, whole_BTH, positions)
        whole_BTH = whole_BTH + layer.mlp(layer.post_attention_layernorm(whole_BTH))
        hidden_BTH = _attended(layer, hidden_BTH, positions)
        input_NH = layer.post_attention_layernorm(hidden_BTH).flatten(0, 1)
        wanted_NH = (whole_BTH - hidden_BTH).flatten(0, 1)
        split_layer, output_NH = _split_layer(layer.mlp, input_NH, wanted_NH, n_experts, top_k, seed)
        hidden_BTH = hidden_BTH + output_NH.view_as(hidden_BTH)
        layers.append(split_layer)
        if progress is not None:
            progress(index + 1, len(decoder.layers))
    return _assembled(dense, layers, n_experts, top_k)


def _attended(layer: Any, hidden_BTH: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
    """Return the hidden states after a layer's causal attention."""
    attention, _ = layer.self_attn(layer.input_layernorm(hidden_BTH), position_embeddings=positions)
    attended: Tensor = hidden_BTH + attention
    return attended


def _split_layer(
    mlp: Any, input_NH: Tensor, wanted_NH: Tensor, n_experts: int, top_k: int, seed: int
) -> tuple[SplitLayer, Tensor]:
    """Return the layer as experts, and its output [N, H] for the same input."""
    gate_FH, up_FH, down_HF = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight
    active_NF = mlp.act_fn(input_NH @ gate_FH.T) * (input_NH @ up_FH.T)
    expert_F = coactivation_groups((active_NF * down_HF.norm(dim=0)).abs(), n_experts, seed)
    router_EH = fit_router(input_NH, active_NF, down_HF, expert_F, n_experts)
    routed_NF = active_NF * gains(input_NH, router_EH, top_k)[:, expert_F]
    refitted_HF = refit_down(routed_NF, wanted_NH, down_HF)
    order_F = expert_F.argsort(stable=True)
    split_layer = SplitLayer(gate_FH[order_F], up_FH[order_F], refitted_HF[:, order_F], router_EH)
    return split_layer, routed_NF @ refitted_HF.T


def _assembled(dense: LlamaForCausalLM, layers: list[SplitLayer], n_experts: int, top_k: int) -> MixtralForCausalLM:
    """Assemble the Mixtral from the split layers and everything else of ``dense``."""
    model: MixtralForCausalLM = MixtralForCausalLM._from_config(_config(dense.config, n_experts, top_k))
    weights = {name: value for name, value in dense.state_dict().items() if ".mlp." not in name}
    for index, layer in enumerate(layers):
        mlp = f"model.layers.{index}.mlp"
        gate_EFH, up_EFH = (part_FH.unflatten(0, (n_experts, -1)) for part_FH in (layer.gate, layer.up))
        weights[f"{mlp}.gate.weight"] = layer.router
        weights[f"{mlp}.experts.gate_up_proj"] = torch.cat([gate_EFH, up_EFH], dim=1)
        # The mixture weights each expert by about 1/k, so its output must be k times as large.
        weights[f"{mlp}.experts.down_proj"] = top_k * layer.down.unflatten(1, (n_experts, -1)).transpose(0, 1)
    model.load_state_dict(weights)
    return model.eval()


def _config(dense: Any, n_experts: int, top_k: int) -> MixtralConfig:
    copied = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "rope_parameters",
        "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id",
    )  # fmt: skip
    return MixtralConfig(
        **{name: getattr(dense, name) for name in copied},
        intermediate_size=dense.intermediate_size // n_experts,
        num_local_experts=n_experts,
        num_experts_per_tok=top_k,
        sliding_window=None,
    )
