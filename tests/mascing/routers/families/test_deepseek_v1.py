"""DeepSeek-MoE v1 as qwen2_moe against its definition, written out here."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mascing.errors import ModelError
from mascing.models.deepseek_v1 import ADDED, native_config
from tests.mascing.routers.families.deepseek_checkpoint import SETTINGS, load, weights, write
from tests.mascing.routers.families.outcomes import expect


def forward(tensors: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """DeepSeek-MoE v1 on one row of tokens [T], in float64: logits [T, 64]."""
    w = {name: tensor.double() for name, tensor in tensors.items()}
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(3):
        at = f"model.layers.{layer}"
        x = x + attention(w, f"{at}.self_attn", norm(x, w[f"{at}.input_layernorm.weight"]))
        normed = norm(x, w[f"{at}.post_attention_layernorm.weight"])
        x = x + (mlp(w, f"{at}.mlp", normed) if layer == 0 else mixture(w, f"{at}.mlp", normed))
    return norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def mlp(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    return (F.silu(x @ w[f"{at}.gate_proj.weight"].T) * (x @ w[f"{at}.up_proj.weight"].T)) @ w[
        f"{at}.down_proj.weight"
    ].T


def mixture(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    scores, chosen = (x @ w[f"{at}.gate.weight"].T).softmax(-1).topk(2)
    routed = torch.stack(
        [
            sum(
                (score * mlp(w, f"{at}.experts.{int(expert)}", token) for score, expert in zip(*pair, strict=True)),
                torch.zeros(64, dtype=torch.float64),
            )
            for token, *pair in zip(x, scores, chosen, strict=True)
        ]
    )
    return routed + mlp(w, f"{at}.shared_experts", x)


def attention(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    q, k, v = ((x @ w[f"{at}.{name}_proj.weight"].T).view(len(x), 4, 16).transpose(0, 1) for name in "qkv")
    scores = rotate(q) @ rotate(k).mT / math.sqrt(16)
    scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -math.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), 64) @ w[f"{at}.o_proj.weight"].T


def rotate(x: Tensor) -> Tensor:
    frequencies = 10000.0 ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * frequencies
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    return x * cos + torch.cat([-x[..., 8:], x[..., :8]], -1) * sin


def test_a_v1_checkpoint_gives_the_logits_that_its_definition_gives(tmp_path: Path) -> None:
    write(tmp_path)
    model, report = load(tmp_path)
    assert all(name.endswith(ADDED) for name in report["missing_keys"])
    assert not report["unexpected_keys"]
    tokens = torch.randint(3, 64, (20,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(tokens[None]).logits[0].double()
    wanted = forward(weights(), tokens)
    assert float((ours - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())
    assert torch.equal(ours.argmax(-1), wanted.argmax(-1))
    expect("deepseek", "loading", "as qwen2_moe, equal to its definition")


@pytest.mark.parametrize(
    ("field", "value"), [("scoring_func", "sigmoid"), ("moe_layer_freq", 2), ("attention_bias", True)]
)
def test_a_variant_that_qwen2_moe_cannot_express_is_refused(field: str, value: object) -> None:
    with pytest.raises(ModelError, match=field):
        native_config({**SETTINGS, field: value})
