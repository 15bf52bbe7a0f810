"""The model `mascing` of lm-evaluation-harness: its model for transformers, with a mask in force."""

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from mascing.errors import ConfigError
from mascing.harnesses.lm_eval.answer_cache import use_own_table
from mascing.harnesses.steered import DEFAULT_STORAGE, open_steered

_OF_THE_MODEL = ("revision", "dtype", "device", "attn_implementation", "trust_remote_code")
_OF_THE_HARNESS = (
    "truncation", "logits_cache", "max_length", "softmax_dtype", "mixed_precision_dtype", "batch_size",
    "max_batch_size", "add_bos_token", "prefix_token_id", "think_end_token", "enable_thinking", "chat_template_args",
)  # fmt: skip


@register_model("mascing")
class SteeredLM(HFLM):
    """``--model mascing --model_args pretrained=MODEL,mask=ADDRESS``; ``mask=none`` is the model itself.

    Requests are answered as by ``--model hf``, from a checkpoint that mascing loads. The mask is in force while they
    are: it is checked against the model and proved to steer it when the model is made, and each kind of requests
    raises SteeringError if a layer steered no token. `config.mascing` of the results holds the digest of the mask.
    """

    def __init__(self, pretrained: str, mask: str | None = "", storage: str = DEFAULT_STORAGE, **settings: Any) -> None:
        """Load and prove. Raises the errors of ``open_steered``, and ConfigError for a setting that has no effect."""
        unknown = sorted(settings.keys() - {*_OF_THE_MODEL, *_OF_THE_HARNESS})
        if unknown:
            raise ConfigError(
                f"--model mascing has no {', '.join(unknown)}; it takes pretrained, mask, storage, "
                f"{', '.join((*_OF_THE_MODEL, *_OF_THE_HARNESS))}"
            )
        if str(settings.get("device", "")).startswith("cuda") and not torch.cuda.is_available():
            settings["device"] = "cpu"  # as the harness does: its command line asks for cuda:0 by default
        self.steered = open_steered(pretrained, mask, storage, **_part(settings, _OF_THE_MODEL))
        loaded = self.steered.loaded
        super().__init__(
            pretrained=loaded.model,
            tokenizer=loaded.tokenizer,
            backend="causal",
            **_part(settings, _OF_THE_HARNESS),
        )
        # Of the model object that it was given, the harness would look for no revision.
        self.pretrained, self.revision = pretrained, self.steered.config.revision or "main"

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-likelihood of continuations, and whether they are greedy."""
        answers: list[tuple[float, bool]] = self._answered(super().loglikelihood, requests, disable_tqdm)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts."""
        answers: list[float] = self._answered(super().loglikelihood_rolling, requests, disable_tqdm)
        return answers

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generated text up to a stop sequence."""
        answers: list[str] = self._answered(super().generate_until, requests, disable_tqdm)
        return answers

    def _answered(self, answer: Any, requests: Sequence[Instance], disable_tqdm: bool) -> Any:
        if not requests:
            return []
        with self.steered.in_force():
            return answer(requests, disable_tqdm=disable_tqdm)

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Called by ``--use_cache``, whose keys hold neither the model nor the mask."""
        if cache_hook.dbdict is not None:
            use_own_table(cache_hook.dbdict, self.steered.identity)
        super().set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """What the results say of the model, with the mask and the tokens that it steered."""
        return {**super().get_model_info(), "mascing": self.steered.facts()}


def _part(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names if settings.get(name) is not None}
