"""How a run wants its model loaded: names that torch and transformers would refuse only once they load it."""

import re
from difflib import get_close_matches

from mascing.errors import ConfigError
from mascing.schemas.config import ModelConfig

_DEVICES = ("cpu", "cuda", "mps", "xpu", "npu", "hpu", "auto", "balanced", "balanced_low_0", "sequential")
_ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")


def refuse_unknown_names(model: ModelConfig) -> None:
    """Raise ConfigError for a device, or a kind of attention, that there is not.

    Attention may also be a kernel on the hub, ``org/name``.
    """
    _refuse("device", re.sub(r":\d+$", "", model.device), _DEVICES)
    attention = model.attn_implementation
    if attention is not None and "/" not in attention:
        _refuse("attn_implementation", attention, _ATTENTION)


def _refuse(field: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"model.{field}: {name!r} is none of {', '.join(known)}{guess}")
