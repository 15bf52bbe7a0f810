"""Prepare a model for gradients that reach only its router logits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mascing.errors import ModelError


@contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """Switch off the gradients of the weights within the block, so that autograd keeps no graph for them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def can_recompute(model: torch.nn.Module) -> bool:
    """Whether `recomputed` works with the model."""
    return bool(_layers(model)) and bool(getattr(model, "supports_gradient_checkpointing", False))


@contextmanager
def recomputed(model: torch.nn.Module) -> Iterator[None]:
    """Turn on gradient checkpointing: each decoder layer keeps only its input and runs again in the backward pass.

    This needs the memory of one layer instead of all and costs one more forward pass. Raises ModelError if the model's
    layers do not support it.
    """
    if not can_recompute(model):
        raise ModelError(
            f"{type(model).__name__} cannot recompute its layers: set compute.gradient_checkpointing to false"
        )
    layers = _layers(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    # transformers recomputes only in training mode. The layers' submodules keep their mode: no dropout.
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
        model.gradient_checkpointing_disable()  # type: ignore[operator]


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
