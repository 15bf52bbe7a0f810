"""Several processes on one GPU: each takes its share of the memory and no more."""

_FOR_CONTEXT = 0.02
"""Share of a GPU's memory that the CUDA context of each process takes beside its tensors, some 0.5 of 24 to 80 GB."""


def limit_gpu_memory(num_gpus: float) -> None:
    """Let this process use ``num_gpus`` of the memory of its GPU; from 1 on, and without a GPU, nothing is limited.

    What goes beyond raises torch's OutOfMemoryError in this process, where it would have taken the others' memory.
    """
    import torch

    if 0 < num_gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(max(num_gpus - _FOR_CONTEXT, num_gpus / 2))
