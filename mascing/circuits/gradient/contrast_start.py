"""Where the routing of the two classes differs: the start of the method `refined`.

Shape suffixes: T token, L MoE layer, E expert.
"""

import torch
from torch import Tensor

from mascing.errors import DataError
from mascing.traces.trace_set import PROMPT, Traces


def contrast_start(traces: Traces, sigma: Tensor) -> Tensor:
    """Mean router logits of positive minus negative traces at the generation prompt, in sigma: float32 [L, E].

    The reply is decided at the tokens between the question and the reply, so the difference is taken there. Raises
    DataError if a class has no such token.
    """
    sums: list[Tensor | float] = [0.0, 0.0]
    tokens = [0, 0]
    for part in traces.parts():
        labels_T = part.labels.repeat_interleave(part.offsets.diff())
        for label in (0, 1):
            chosen_T = (part.regions == PROMPT) & (labels_T == label)
            sums[label] = sums[label] + part.z[chosen_T].double().sum(0)
            tokens[label] += int(chosen_T.sum())
    if not all(tokens):
        raise DataError("no token between question and reply in the traces of a class: the template adds none")
    negative_LE, positive_LE = (torch.as_tensor(total) / n for total, n in zip(sums, tokens, strict=True))
    return ((positive_LE - negative_LE) / sigma[:, None]).float()
