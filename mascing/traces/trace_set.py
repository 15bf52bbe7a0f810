"""Traces: the raw router logits and the selected experts of prompts, and what the methods need of them.

Shapes: T token, L MoE layer, E expert, K selected expert, N sample. A TraceSet is ragged: the tokens of all its samples
are concatenated. L counts the layers that were kept; where no logits were, z is [T, 0, E].
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import Protocol

import torch
from torch import Tensor

from mascing.errors import DataError, LogitsError
from mascing.schemas.settings.method_settings import Span

QUESTION, PROMPT, REPLY = 0, 1, 2
UNLABELLED = -1
IN_SPAN: dict[Span, Callable[[Tensor], Tensor]] = {
    "question": lambda regions: regions == QUESTION,
    "question+prompt": lambda regions: regions <= PROMPT,
    "reply": lambda regions: regions == REPLY,
}


class Traces(Protocol):
    """Labelled traces as the methods read them: in memory (`TraceSet`) or in stored shards (`StoredTraces`)."""

    def parts(self, order: torch.Generator | None = None) -> Iterator["TraceSet"]:
        """All samples once, in parts that fit into memory, in stored order or in an order that ``order`` draws."""

    def span(self, name: Span) -> "Traces":
        """The same samples with only the tokens of that span; reading a sample without any raises DataError."""

    def labelled(self, label: int) -> "Traces":
        """The samples of one class."""

    def relabelled(self, labels: Mapping[str, int]) -> "Traces":
        """The same samples with other labels, by conversation id."""

    def without_logits(self) -> "Traces":
        """The same samples with the selections alone: z is [T, 0, E]."""


def shuffled_batches(
    traces: Traces, size: int, order: torch.Generator, device: torch.device | str = "cpu"
) -> Iterator[tuple["TraceSet", Tensor]]:
    """All samples once in random order: pairs of a part on ``device`` and the indices of up to ``size`` samples."""
    for part in traces.parts(order):
        placed = part.on(device)
        for chosen in torch.randperm(len(part), generator=order).split(size):
            yield placed, chosen


def random_sample(traces: Traces, samples: int, tokens: int, order: torch.Generator) -> "TraceSet":
    """Draw samples at random until there are at least ``samples`` samples and ``tokens`` tokens, or none is left.

    Reads every part once and holds only the drawn samples between parts.
    """
    drawn: list[tuple[float, TraceSet]] = []
    for part in traces.parts():
        keys = torch.rand(len(part), dtype=torch.float64, generator=order).tolist()
        drawn += [(key, part.subset([index])) for index, key in enumerate(keys)]
        drawn.sort(key=lambda keyed: keyed[0])
        ends = torch.tensor([len(sample.z) for _, sample in drawn]).cumsum(0)
        drawn = drawn[: max(samples, 1 + int((ends < tokens).sum()))]
    return joined([sample for _, sample in drawn])


def joined(sets: Sequence["TraceSet"]) -> "TraceSet":
    """The samples of all sets, in their order."""
    return TraceSet(
        z=torch.cat([traces.z for traces in sets]),
        offsets=offsets([count for traces in sets for count in traces.offsets.diff().tolist()]),
        labels=torch.cat([traces.labels for traces in sets]),
        regions=torch.cat([traces.regions for traces in sets]),
        ids=[name for traces in sets for name in traces.ids],
        groups=[group for traces in sets for group in traces.groups],
        selected=torch.cat([traces.selected for traces in sets]),
    )


def samples_of(traces: "TraceSet") -> Iterator["SampleTrace"]:
    """The samples one by one, as views."""
    for number, (start, end) in enumerate(pairwise(traces.offsets.tolist())):
        label = int(traces.labels[number])
        yield SampleTrace(
            conversation_id=traces.ids[number],
            group_id=traces.groups[number],
            label=None if label == UNLABELLED else label,
            z=traces.z[start:end],
            regions=traces.regions[start:end],
            selected=traces.selected[start:end],
        )


def token_counts(traces: Traces) -> dict[str, int]:
    """The number of tokens of every sample by conversation id, in order."""
    return {
        name: count
        for part in traces.parts()
        for name, count in zip(part.ids, part.offsets.diff().tolist(), strict=True)
    }


@dataclass(frozen=True)
class SampleTrace:
    """The recorded tokens of one prompt: its final user turn, the tokens up to the reply, and the reply if requested.

    ``z`` is float16 [T, L, E] and ``selected`` :func:`selection_dtype` [T, L, K], often views into the storage of a
    whole shard; ``regions`` is uint8 [T] with 0 question, 1 prompt and 2 reply; ``label`` is 1 for positive, 0 for
    negative, and None for a conversation without a label.
    """

    conversation_id: str
    group_id: str
    label: int | None
    z: Tensor
    regions: Tensor
    selected: Tensor


@dataclass(frozen=True)
class TraceSet:
    """Traces of N samples: z float16 [sum T, L, E], offsets int64 [N+1], labels int64 [N], regions uint8 [sum T].

    A label is 1 for positive, 0 for negative and -1 for none. ``selected`` [sum T, L, K] holds the ids of the experts
    that the model itself selected for each token, in no particular order (:func:`selection_dtype`); E where a place
    went to no expert, as with longcat's zero experts.
    """

    z: Tensor
    offsets: Tensor
    labels: Tensor
    regions: Tensor
    ids: list[str]
    groups: list[str]
    selected: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, order: torch.Generator | None = None) -> Iterator["TraceSet"]:
        """Only itself, since it is in memory already."""
        del order
        yield self

    def labelled(self, label: int) -> "TraceSet":
        """The samples of one class, in their order."""
        return self.subset(torch.nonzero(self.labels == label).flatten().tolist())

    def relabelled(self, labels: Mapping[str, int]) -> "TraceSet":
        """The same samples with other labels, by conversation id."""
        return replace(self, labels=torch.tensor([labels[name] for name in self.ids], dtype=torch.long))

    def without_logits(self) -> "TraceSet":
        """The same samples with the selections alone: z is [T, 0, E]."""
        return replace(self, z=self.z[:, :0])

    def span(self, name: Span) -> "TraceSet":
        """The same samples with only the tokens of that span.

        Raises DataError if a sample has none, as for ``reply`` when replies were not harvested or are not known.
        """
        keep_T = IN_SPAN[name](self.regions)
        traces = self if keep_T.all() else self._with_tokens(keep_T)
        missing = torch.nonzero(traces.offsets.diff() == 0).flatten().tolist()
        if missing:
            raise DataError(
                f"{len(missing)} of {len(self)} traces have no token of the span {name!r}, such as that of "
                f"conversation {self.ids[missing[0]]!r}: the span `reply` needs `wanted` of every positive and "
                "`unwanted` of every negative conversation; add them, or choose another span"
            )
        return traces

    def sigma(self) -> Tensor:
        """Standard deviation of each layer's z over its experts and the tokens before the reply: float32 [L]."""
        before_T = self.regions != REPLY
        by_layer = (self.z[before_T, layer].double() for layer in range(self.z.shape[1]))
        return torch.stack([z_TE.std(correction=0) for z_TE in by_layer]).float()

    def on(self, device: torch.device | str) -> "TraceSet":
        """The same samples with their logits on ``device``, and with them what `padded` returns."""
        return replace(self, z=self.z.to(device))

    def subset(self, keep: Sequence[int]) -> "TraceSet":
        """The samples at ``keep``, in that order."""
        spans = [(int(self.offsets[index]), int(self.offsets[index + 1])) for index in keep]
        rows = (
            torch.cat([torch.arange(start, end) for start, end in spans]) if spans else torch.zeros(0, dtype=torch.long)
        )
        return TraceSet(
            z=self.z[rows],
            offsets=offsets([end - start for start, end in spans]),
            labels=self.labels[list(keep)],
            regions=self.regions[rows],
            ids=[self.ids[index] for index in keep],
            groups=[self.groups[index] for index in keep],
            selected=self.selected[rows],
        )

    def padded(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """z_NTLE float32 of the samples at ``indices``, zero after their ends, and mask_NT, true on real tokens."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        first, count = self.offsets[chosen], self.offsets[chosen + 1] - self.offsets[chosen]
        steps = torch.arange(int(count.max()) if len(chosen) else 0)
        mask_NT = steps < count[:, None]
        z_NTLE = torch.zeros(*mask_NT.shape, *self.z.shape[1:], dtype=torch.float32, device=self.z.device)
        z_NTLE[mask_NT] = self.z[(first[:, None] + steps)[mask_NT]].float()
        return z_NTLE, mask_NT.to(self.z.device)

    def _with_tokens(self, keep_T: Tensor) -> "TraceSet":
        n_before = torch.cat([torch.zeros(1, dtype=torch.long), keep_T.long().cumsum(0)])
        return replace(
            self,
            z=self.z[keep_T],
            offsets=n_before[self.offsets],
            regions=self.regions[keep_T],
            selected=self.selected[keep_T],
        )


def selection_dtype(n_experts: int) -> torch.dtype:
    """The smallest integer type that holds every expert's id and E itself, which stands for no expert."""
    return torch.uint8 if n_experts < 256 else torch.int16


def refuse_non_logits(parts: Sequence[Tensor]) -> None:
    """Raise LogitsError if the z_TLE parts together cannot be raw router logits, and DataError if there are none.

    Refuses NaN and infinity, a layer in which no token prefers any expert, and probabilities or log-probabilities (of
    a softmax or a sigmoid) in place of logits. An additive bias can steer none of them.
    """
    if not sum(z_TLE.shape[0] for z_TLE in parts):
        raise DataError("no tokens were recorded")
    for layer in range(parts[0].shape[1]):
        z_TE = torch.cat([z_TLE[:, layer] for z_TLE in parts])
        low, high = (float(bound) for bound in z_TE.aminmax())
        if not (isfinite(low) and isfinite(high)):
            raise LogitsError(f"MoE layer {layer}: router logits are NaN or infinite; load the model in another dtype")
        if _flat(z_TE[:16]) and _flat(z_TE):  # the first tokens decide it for any working router
            raise LogitsError(f"MoE layer {layer}: all router logits of a token are equal; nothing was recorded there")
        if low >= 0 and high <= 1:
            raise LogitsError(f"MoE layer {layer}: these are probabilities, not logits; record before the softmax")
        if high <= 0 and bool((z_TE.float().logsumexp(dim=1).abs() < 5e-3).all()):
            raise LogitsError(f"MoE layer {layer}: these are log-probabilities, not logits; record before the softmax")


def _flat(z_TE: Tensor) -> bool:
    return bool((z_TE == z_TE[:, :1]).all())


def offsets(counts: Sequence[int]) -> Tensor:
    """Start of each sample, given their token counts, and the end of the last: int64 [N+1]."""
    return torch.tensor([0, *counts], dtype=torch.long).cumsum(0)
