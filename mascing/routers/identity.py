"""What identifies the routers of a checkpoint, however it is loaded."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mascing.routers.families import DERIVED_SETTINGS, IMPLIED_SETTINGS, RENAMED_VALUES

_NOT_IDENTITY = re.compile(
    r"^(_.*|transformers_version|dtype|torch_dtype|architectures|auto_map|name_or_path|quantization_config|use_cache"
    r"|output_.*|return_dict|.*_token_id|id2label|label2id|problem_type|is_decoder|chunk_size_feed_forward"
    r"|tie_word_embeddings|.*_implementation|.*dropout.*|initializer_range|router_aux_loss_coef|.*jitter.*)$"
)
"""Config fields that may differ between two loads of one checkpoint without changing what a mask does."""


def router_fingerprint(config: Any, tensors: Iterable[Tensor]) -> str:
    """A sha256 over a model's config and the tensors of its routers.

    It does not depend on the device, attention or experts implementation, or transformers release that loads the
    checkpoint, nor on whether that is in float32 or bfloat16. float16 rounds what is stored in another dtype, in
    bfloat16 the weights below 2**-17, and so can change it.
    """
    digest = hashlib.sha256(json.dumps(_identity(_settings(config)), sort_keys=True, default=str).encode())
    for tensor in tensors:
        # Most checkpoints are stored in bfloat16; rounding to it makes loads in float32 and bfloat16 agree.
        stored = tensor.detach().to(torch.bfloat16).contiguous().cpu()
        digest.update(stored.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _settings(config: Any) -> dict[str, Any]:
    """The config's fields, including those that only some supported releases of transformers write."""
    derived = {name: getattr(config, name) for name in DERIVED_SETTINGS.get(config.model_type, ())}
    settings = {**IMPLIED_SETTINGS.get(config.model_type, {}), **config.to_dict(), **derived}
    rotary = settings.get("rope_parameters") or {}
    if "partial_rotary_factor" in rotary:
        settings.setdefault("partial_rotary_factor", rotary["partial_rotary_factor"])
    return settings


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _identity(item) for key, item in value.items() if not _NOT_IDENTITY.match(str(key))}
    if isinstance(value, (list, tuple)):
        return [_identity(item) for item in value]
    return RENAMED_VALUES.get(value, value) if isinstance(value, str) else value
