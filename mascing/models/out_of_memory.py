"""What running out of memory looks like."""

import torch

_SAID = ("out of memory", "not enough memory", "can't allocate memory")
"""Allocators other than PyTorch's own for CUDA raise a RuntimeError that only says so."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device, or the host, had no memory left for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)
