"""Checkpoints that judge: loaded once in a process, and identified by their content."""

from functools import cache
from pathlib import Path
from typing import Any

from mascing.errors import ModelError
from mascing.models.checkpoints import checkpoint_fingerprint, local_folder, one_line
from mascing.schemas.config import ModelConfig
from mascing.schemas.settings.judging_models import JudgingModel


def model_config(model: JudgingModel) -> ModelConfig:
    """The checkpoint as the loader of models takes it; code in it is never run."""
    return ModelConfig(path=model.path, revision=model.revision, dtype=model.dtype, device=model.device)


def model_identity(model: JudgingModel) -> dict[str, Any]:
    """What determines a model's answers: its content, and the precision of its numbers. Raises ModelError."""
    return {"checkpoint": checkpoint_fingerprint(model_config(model)), "dtype": model.dtype}


def model_card(model: JudgingModel) -> str:
    """The text of the model's card (README.md). Raises ModelError if it has none."""
    try:
        return _card(model.path.rstrip("/"), model.revision)
    except Exception as error:
        raise ModelError(
            f"the card of {model.path} cannot be read ({one_line(error)}): copy its README.md beside the weights, or "
            "name a file with the prompt as `prompt`"
        ) from error


def tokenizer_of(model: JudgingModel) -> Any:
    """The tokenizer, with or without a chat template. Raises ModelError."""
    from transformers import AutoTokenizer

    from mascing.models.tokenizer import load_errors

    with local_folder(model_config(model), weights=False) as folder:
        try:
            return AutoTokenizer.from_pretrained(folder)
        except load_errors() as error:
            raise ModelError(f"the tokenizer in {folder} cannot be loaded: {one_line(error)}") from error


@cache
def causal_model(model: JudgingModel) -> tuple[Any, Any]:
    """A language model and its tokenizer, loaded once in a process. Raises ModelError."""
    from mascing.models.loading import load_model

    return load_model(model_config(model)), tokenizer_of(model)


@cache
def classification_model(model: JudgingModel) -> tuple[Any, Any]:
    """A sequence-classification model and its tokenizer, loaded once in a process.

    Raises ModelError, also for a checkpoint without a classification head: transformers would make a random one.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from mascing.models.misfits import LOADING, failed_conversion, misfits
    from mascing.models.model_folder import refuse_without_weights, settings_of
    from mascing.models.tokenizer import load_errors

    dtype = model.dtype if model.dtype == "auto" else getattr(torch, model.dtype)
    with local_folder(model_config(model)) as folder:
        settings_of(folder)
        refuse_without_weights(folder)
        try:
            made, report = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, **LOADING
            )
        except load_errors() as error:
            reason = failed_conversion(error) or one_line(error)
            raise ModelError(f"the model in {folder} cannot be loaded as a classifier: {reason}") from error
        if unfit := misfits(report):
            raise ModelError(f"{folder} is no trained classifier: {unfit}")
    try:
        placed = made.to(model.device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"the device {model.device!r} of a judge is not usable here: {one_line(error)}") from error
    return placed.eval(), tokenizer_of(model)


def context_of(network: Any) -> int | None:
    """The number of tokens that a loaded model can read, or None if its config does not say."""
    return getattr(network.config.get_text_config(), "max_position_embeddings", None)


def _card(path: str, revision: str | None) -> str:
    if "://" in path:
        import fsspec

        with fsspec.open(f"{path}/README.md", "rb") as file:
            data: bytes = file.read()
        return data.decode("utf-8")
    folder = Path(path).expanduser()
    if folder.is_dir():
        return (folder / "README.md").read_text(encoding="utf-8")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(path, "README.md", revision=revision)).read_text(encoding="utf-8")
