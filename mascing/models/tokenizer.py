"""Load the tokenizer of a checkpoint, without its weights and without torch."""

from pathlib import Path
from typing import Any

from mascing.errors import ModelError
from mascing.models.chat_template import configured_template
from mascing.models.checkpoints import local_folder, one_line
from mascing.models.model_folder import settings_of
from mascing.schemas.config import ModelConfig


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer alone, as `mascing.models.loading.load` does and with its errors; no weights are fetched."""
    with local_folder(config, weights=False) as folder:
        settings_of(folder)
        return tokenizer_in(folder, config)


def tokenizer_in(folder: Path, config: ModelConfig) -> Any:
    """The tokenizer of a model folder, with the configured chat template. Raises ModelError if there is none."""
    from transformers import AutoTokenizer

    _refuse_absent(folder)
    return _loaded(AutoTokenizer, folder, config)


def quick_tokenizer_in(folder: Path, config: ModelConfig) -> Any:
    """`tokenizer_in` in a fifth of the time, for checks: what tokenizer.json holds, without the family's own class.

    Where there is no such file or the checkpoint brings code, it is the same.
    """
    _refuse_absent(folder)
    if config.trust_remote_code or not (folder / "tokenizer.json").exists():
        return tokenizer_in(folder, config)
    from transformers import PreTrainedTokenizerFast

    return _loaded(PreTrainedTokenizerFast, folder, config)


def context_length(config: ModelConfig) -> int | None:
    """The number of tokens that the model can read, or None if its config does not say."""
    from transformers import AutoConfig

    with local_folder(config, weights=False) as folder:
        try:
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
        except load_errors():
            return None  # loading the model explains it
    return getattr(settings.get_text_config(), "max_position_embeddings", None)


def _refuse_absent(folder: Path) -> None:
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise ModelError(f"{folder} has no tokenizer: copy tokenizer.json and tokenizer_config.json of the model there")


def _loaded(tokenizer_class: Any, folder: Path, config: ModelConfig) -> Any:
    try:
        tokenizer = tokenizer_class.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    except load_errors() as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded ({one_line(error)}): copy its files of the model again"
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer in {folder} has no chat template: take the instruction-tuned model, or add "
            "chat_template.jinja to the folder"
        )
    tokenizer.chat_template = configured_template(tokenizer, config.chat_template)
    return tokenizer


def load_errors() -> tuple[type[Exception], ...]:
    """The errors that transformers, tokenizers, safetensors and torch raise for a folder that cannot be loaded."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    builtin = (OSError, ValueError, ImportError, RuntimeError, TypeError, KeyError, AttributeError)
    return (*builtin, StrictDataclassError, SafetensorError)
