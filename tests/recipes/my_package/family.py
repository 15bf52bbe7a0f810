"""A tiny Mixture-of-Experts language model that transformers does not know: no attention, a mean over what came before.

Shape suffixes: B batch, T token, N row (a token of the batch), H hidden, E expert, K selected.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils.output_capturing import OutputRecorder


class PebbleConfig(PreTrainedConfig):
    model_type = "pebble"

    vocab_size: int = 300
    hidden_size: int = 16
    num_hidden_layers: int = 2
    num_experts: int = 4
    num_experts_per_tok: int = 2
    initializer_range: float = 0.3
    use_cache: bool = False


class PebbleRouter(nn.Module):
    def __init__(self, config: PebbleConfig) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))

    def forward(self, hidden_NH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits_NE = F.linear(hidden_NH, self.weight)
        weights_NK, index_NK = logits_NE.softmax(dim=-1).topk(self.top_k, dim=-1)
        return logits_NE, weights_NK, index_NK


class PebbleExperts(nn.Module):
    def __init__(self, config: PebbleConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size, config.hidden_size))

    def forward(self, hidden_NH: Tensor, index_NK: Tensor, weights_NK: Tensor) -> Tensor:
        all_NEH = torch.einsum("nh,ehg->neg", hidden_NH, self.weight).tanh()
        chosen_NKH = all_NEH.gather(1, index_NK[..., None].expand(-1, -1, all_NEH.shape[-1]))
        return (weights_NK[..., None] * chosen_NKH).sum(dim=1)


class PebbleLayer(nn.Module):
    def __init__(self, config: PebbleConfig) -> None:
        super().__init__()
        self.router, self.experts = PebbleRouter(config), PebbleExperts(config)

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        counts_T1 = torch.arange(1, hidden_BTH.shape[1] + 1, device=hidden_BTH.device)[:, None]
        mixed_NH = (hidden_BTH.cumsum(dim=1) / counts_T1).flatten(0, 1)
        _, weights_NK, index_NK = self.router(mixed_NH)
        added_NH: Tensor = self.experts(mixed_NH, index_NK, weights_NK)
        return hidden_BTH + added_NH.view_as(hidden_BTH)


class PebbleForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = PebbleConfig
    base_model_prefix = "model"
    _can_record_outputs: ClassVar[dict[str, Any]] = {"router_logits": OutputRecorder(PebbleRouter, index=0)}

    def __init__(self, config: PebbleConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([PebbleLayer(config) for _ in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> CausalLMOutput:
        hidden_BTH = self.embed(input_ids)
        for layer in self.layers:
            hidden_BTH = layer(hidden_BTH)
        return CausalLMOutput(logits=self.head(hidden_BTH))


AutoConfig.register(PebbleConfig.model_type, PebbleConfig)
AutoModelForCausalLM.register(PebbleConfig, PebbleForCausalLM)
