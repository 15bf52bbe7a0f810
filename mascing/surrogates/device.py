"""Where surrogates are trained and searched through."""

import torch


def own_device() -> torch.device:
    """The GPU that this process may use, or else its CPU, on which equal seeds give equal bits.

    Ray shows a worker only the GPUs that were reserved for it.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
