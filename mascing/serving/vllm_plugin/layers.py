"""Find the MoE layers of a model that vLLM has loaded, and the routers that belong to them.

Shape suffixes: E expert, H hidden.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mascing.errors import ModelError
from mascing.routers.families import SCORING, UNLISTED
from mascing.routers.identity import router_fingerprint
from mascing.routers.spec import RouterSpec, common


@dataclass(frozen=True)
class RoutedLayer:
    """One MoE layer of vLLM: its runner, and the module that makes its router logits.

    ``width`` is the number of logits: E, or more where the gates of shared experts are fused into the router's.
    ``routed_outside`` says that the block selects experts itself, as transformers' own code does in vLLM.
    """

    name: str
    layer_id: int
    runner: Any
    gate: Any
    n_experts: int
    width: int
    routed_outside: bool

    @property
    def top_k(self) -> int:
        """Number of selected experts, K."""
        return int(self.runner.router.top_k)

    @property
    def correction(self) -> Tensor | None:
        """The vector [E] that the router adds to the scores only for selection, or None."""
        found = getattr(self.runner.router, "e_score_correction_bias", None)
        return found if found is not None else getattr(self.gate, "e_score_correction_bias", None)

    @property
    def groups(self) -> tuple[int, int] | None:
        """(number of groups, groups kept) if selection is limited to groups of experts."""
        router = self.runner.router
        number, kept = getattr(router, "num_expert_group", None), getattr(router, "topk_group", None)
        return (number, kept) if number and kept and kept < number else None

    @property
    def tensors(self) -> list[Tensor]:
        """All that routes, in the order in which :class:`mascing.routers.spec.Router` has it."""
        everything = (self.gate.weight, getattr(self.gate, "bias", None), self.correction)
        return [tensor for tensor in everything if isinstance(tensor, Tensor)]


def routed_layers(vllm_config: Any, model: nn.Module) -> list[RoutedLayer]:
    """The MoE layers in depth order. Raises ModelError if there are none, or if a router is not found."""
    from vllm.model_executor.layers.fused_moe import MoERunner

    context = vllm_config.compilation_config.static_forward_context
    found = [_layer(name, runner, model) for name, runner in context.items() if isinstance(runner, MoERunner)]
    if not found:
        raise ModelError("vLLM runs no MoE layer of this model: there are no routers that a mask could steer")
    return sorted(found, key=lambda layer: layer.layer_id)


def spec_of(layers: list[RoutedLayer], model_config: Any) -> RouterSpec:
    """Describe the routers as :func:`mascing.inspect_routers` does for the same checkpoint.

    It reads the routers' weights, so it must run before vLLM packs them for its kernels.
    """
    from transformers import AutoConfig

    # vLLM changes the config that it loads, and the fingerprint is over the config as it stands in the checkpoint.
    config = AutoConfig.from_pretrained(model_config.model, revision=model_config.revision).get_text_config()
    return RouterSpec(
        family=config.model_type,
        layer_ids=tuple(layer.layer_id for layer in layers),
        n_experts=common(layers, "n_experts"),
        top_k=common(layers, "top_k"),
        scoring=SCORING.get(config.model_type, UNLISTED),
        fingerprint=router_fingerprint(config, [tensor for layer in layers for tensor in layer.tensors]),
        groups=layers[0].groups,
    )


def _layer(name: str, runner: Any, model: nn.Module) -> RoutedLayer:
    from vllm.model_executor.models.transformers.moe import TransformersMoERunner
    from vllm.model_executor.models.utils import extract_layer_index

    n_experts = int(runner.moe_config.num_logical_experts)
    block = model.get_submodule(name.rpartition(".")[0])
    gate: Any = runner.gate if runner.gate is not None else _gate_in(block, n_experts, name)
    shared = int(gate.weight.shape[0]) - n_experts
    if runner.gate is not None and runner.shared_expert_gate is not None:
        shared = int(runner.shared_expert_gate.weight.shape[0])  # vLLM fuses the two gates at the first forward
    return RoutedLayer(
        name=name,
        layer_id=extract_layer_index(name),
        runner=runner,
        gate=gate,
        n_experts=n_experts,
        width=n_experts + shared,
        routed_outside=isinstance(runner, TransformersMoERunner),
    )


def _gate_in(block: nn.Module, n_experts: int, name: str) -> nn.Module:
    """The module of a block that makes its router logits: the only one whose weight has a row for each expert."""
    found: list[nn.Module] = [
        module
        for path, module in block.named_modules()
        if path.split(".")[0] in ("gate", "router")
        and isinstance(weight := module._parameters.get("weight"), Tensor)
        and weight.dim() == 2
        and weight.shape[0] >= n_experts
    ]
    if len(found) != 1:
        raise ModelError(f"the router of {name} is not found in vLLM's model: {len(found)} modules could be it")
    return found[0]
