"""Probe conversations: how often each of them selected each expert, kept with a mask to tell later whether that moved.

Shapes: P probe conversation, L MoE layer, E expert, T token, K selected expert.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mascing.errors import DataError
from mascing.schemas.cards.routing_rates import RoutingRates
from mascing.schemas.facts import RouterFacts
from mascing.traces.trace_set import REPLY, SampleTrace, Traces, samples_of

PROBES = 64
"""Conversations at most: with so many a shift of a few points of a layer's selections shows."""

_DIGITS = 5


@dataclass(frozen=True)
class Probes:
    """``selected_PLE`` counts selections by the ``tokens_P`` tokens of question and prompt: int32, int64.

    ``ids`` and ``groups`` name the conversations and their groups.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    tokens_P: Tensor
    selected_PLE: Tensor

    @classmethod
    def of(cls, samples: Iterable[SampleTrace], n_experts: int) -> "Probes":
        """The counts of samples, by conversation id. Raises DataError if there are none."""
        counted = sorted((sample.conversation_id, sample.group_id, *_counts(sample, n_experts)) for sample in samples)
        if not counted:
            raise DataError("there are no traces to probe the routing by")
        ids, groups, tokens, selected = zip(*counted, strict=True)
        return cls(ids, groups, torch.tensor(tokens), torch.stack(selected))

    @classmethod
    def drawn(cls, traces: Traces, n_experts: int, most: int = PROBES) -> "Probes":
        """The counts of at most ``most`` samples, drawn by a hash of their ids: any run draws the same."""
        drawn: list[tuple[str, SampleTrace]] = []
        for part in traces.without_logits().parts():
            drawn += [(_hashed(sample.conversation_id), sample) for sample in samples_of(part)]
            drawn = sorted(drawn, key=lambda pair: pair[0])[:most]
        return cls.of((sample for _, sample in drawn), n_experts)

    @classmethod
    def joined(cls, parts: Sequence["Probes"]) -> "Probes":
        """Those of all parts."""
        ids, groups = (tuple(name for part in parts for name in getattr(part, of)) for of in ("ids", "groups"))
        counts = (torch.cat([getattr(part, of) for part in parts]) for of in ("tokens_P", "selected_PLE"))
        return cls(ids, groups, *counts)

    def at(self, ids: Sequence[str]) -> "Probes":
        """Those of these ids, in their order."""
        place = {name: number for number, name in enumerate(self.ids)}
        rows = [place[name] for name in ids]
        groups = tuple(self.groups[row] for row in rows)
        return Probes(tuple(ids), groups, self.tokens_P[rows], self.selected_PLE[rows])

    def rates(self, spec: RouterFacts) -> RoutingRates:
        """The selections of each expert per token of all probes together."""
        rates_LE = self.selected_PLE.sum(0).double() / self.tokens_P.sum()
        return RoutingRates(
            conversations=len(self.ids),
            tokens=int(self.tokens_P.sum()),
            top_k=spec.top_k,
            layers=spec.layer_ids,
            rates=tuple(tuple(round(rate, _DIGITS) for rate in rates_E) for rates_E in rates_LE.tolist()),
        )

    def to_bytes(self) -> bytes:
        """As safetensors."""
        named = json.dumps({"ids": self.ids, "groups": self.groups}).encode()
        names = torch.frombuffer(bytearray(named), dtype=torch.uint8)
        data: bytes = save({"names": names, "tokens": self.tokens_P, "selected": self.selected_PLE})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> "Probes":
        """Inverse of :meth:`to_bytes`. Raises DataError if the bytes are damaged."""
        try:
            tensors = load(data)
            named = json.loads(bytes(tensors["names"].tolist()))
            return cls(tuple(named["ids"]), tuple(named["groups"]), tensors["tokens"], tensors["selected"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"the probe conversations of a mask cannot be read ({error})") from error


def _counts(sample: SampleTrace, n_experts: int) -> tuple[int, Tensor]:
    """The number of tokens before the reply, and their selections: int32 [L, E]."""
    selected_TLK = sample.selected[sample.regions != REPLY].long()
    n_layers = selected_TLK.shape[1]
    # A place that went to no expert has the id E.
    counts_LE = torch.zeros(n_layers, n_experts + 1, dtype=torch.int32)
    ids_LN = selected_TLK.permute(1, 0, 2).reshape(n_layers, -1)
    counts_LE.scatter_add_(1, ids_LN, torch.ones_like(ids_LN, dtype=torch.int32))
    return len(selected_TLK), counts_LE[:, :n_experts].contiguous()


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
