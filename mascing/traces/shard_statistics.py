"""What a shard says of its traces in its footer: how much there is, how its logits spread, who was selected.

Shapes: C class, S span, T token, L kept MoE layer, E expert, K selected expert.
"""

import base64
import zlib
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mascing.errors import DataError
from mascing.schemas.settings.method_settings import Span
from mascing.schemas.trace_layout import REGIONS
from mascing.traces.trace_set import IN_SPAN, PROMPT

CLASSES = ("negative", "positive", "unlabelled")
"""The classes in the order of C: the labels 0, 1 and -1 (so that a label is its place, counted modulo C)."""


@dataclass(frozen=True)
class Spread:
    """The logits of the tokens before the reply, over all experts, layer by layer: float64 [L].

    ``squares`` are the sums of squared distances to the mean of ``values`` logits.
    """

    values: int
    mean_L: Tensor
    squares_L: Tensor
    low_L: Tensor
    high_L: Tensor

    def __add__(self, other: "Spread") -> "Spread":
        """The spread of both together (Chan et al. 1979, pairwise updating of the variance)."""
        if not self.values or not other.values:
            return self if self.values else other
        values = self.values + other.values
        step_L = other.mean_L - self.mean_L
        return Spread(
            values,
            self.mean_L + step_L * (other.values / values),
            self.squares_L + other.squares_L + step_L.square() * (self.values * other.values / values),
            torch.minimum(self.low_L, other.low_L),
            torch.maximum(self.high_L, other.high_L),
        )


@dataclass(frozen=True)
class TraceStatistics:
    """Statistics of traces; those of several shards of one layout add up.

    ``samples_C`` and ``tokens_CS`` count samples and tokens, and ``selected_CSLE`` how often these tokens selected each
    expert: int64. ``spread`` is None where no logits are kept.
    """

    samples_C: Tensor
    tokens_CS: Tensor
    selected_CSLE: Tensor
    spread: Spread | None

    @classmethod
    def none(cls, n_layers: int, n_experts: int, logits: bool) -> "TraceStatistics":
        """The statistics of no samples."""
        n_classes, n_spans = len(CLASSES), len(REGIONS)
        return cls(
            torch.zeros(n_classes, dtype=torch.long),
            torch.zeros(n_classes, n_spans, dtype=torch.long),
            torch.zeros(n_classes, n_spans, n_layers, n_experts, dtype=torch.long),
            Spread(0, *(torch.zeros(n_layers, dtype=torch.float64) for _ in _OF_SPREAD)) if logits else None,
        )

    def __add__(self, other: "TraceStatistics") -> "TraceStatistics":
        """The statistics of the traces of both. Raises DataError if they have other layers or experts."""
        if self.selected_CSLE.shape != other.selected_CSLE.shape:
            raise DataError("trace shards of different models: their layers or experts are not the same")
        return TraceStatistics(
            self.samples_C + other.samples_C,
            self.tokens_CS + other.tokens_CS,
            self.selected_CSLE + other.selected_CSLE,
            None if self.spread is None or other.spread is None else self.spread + other.spread,
        )

    @property
    def tokens(self) -> int:
        """Number of tokens, the reply included."""
        return int(self.tokens_CS.sum())

    @property
    def tokens_before_the_reply(self) -> int:
        """Number of tokens of question and prompt."""
        return int(self.tokens_CS[:, IN_SPAN["question+prompt"](torch.arange(len(REGIONS)))].sum())

    def sigma(self) -> Tensor:
        """Standard deviation of each layer's logits over experts and the tokens before the reply: float32 [L].

        Equals `TraceSet.sigma` of the traces. Raises DataError where no such logits were kept.
        """
        if self.spread is None or not self.spread.values:
            raise DataError("the spread of logits is not known: these traces keep no logits of tokens before the reply")
        return (self.spread.squares_L / self.spread.values).sqrt().float()

    def selections(self, span: Span) -> tuple[Tensor, Tensor]:
        """How often the tokens of a span selected each expert, and their number, by class: int64 [C, L, E] and [C]."""
        inside_S = IN_SPAN[span](torch.arange(len(REGIONS)))
        return self.selected_CSLE[:, inside_S].sum(dim=1), self.tokens_CS[:, inside_S].sum(dim=1)

    def to_text(self) -> str:
        """Plain text for a file's metadata: base64 of deflated safetensors, without the cells that have no tokens."""
        arrays = {
            "samples": self.samples_C,
            "tokens": self.tokens_CS,
            "selected": self.selected_CSLE[self.tokens_CS > 0].to(torch.int32),
            "shape": torch.tensor(self.selected_CSLE.shape),
        }
        if self.spread is not None:
            arrays["values"] = torch.tensor(self.spread.values)
            arrays |= {name: getattr(self.spread, f"{name}_L") for name in _OF_SPREAD}
        return base64.b64encode(zlib.compress(save(arrays))).decode()

    @classmethod
    def from_text(cls, text: str) -> "TraceStatistics":
        """Inverse of :meth:`to_text`. Raises DataError if the text is damaged."""
        try:
            arrays = load(zlib.decompress(base64.b64decode(text, validate=True)))
            tokens_CS = arrays["tokens"]
            selected_CSLE = torch.zeros(arrays["shape"].tolist(), dtype=torch.long)
            selected_CSLE[tokens_CS > 0] = arrays["selected"].long()
            values = {f"{name}_L": arrays[name] for name in _OF_SPREAD if "values" in arrays}
            spread = Spread(int(arrays["values"]), **values) if values else None
        except (ValueError, zlib.error, SafetensorError, KeyError, IndexError, RuntimeError) as error:
            raise DataError(f"its statistics cannot be read ({error})") from error
        return cls(arrays["samples"], tokens_CS, selected_CSLE, spread)


def measured(
    z_LTE: Tensor, selected_TLK: Tensor, labels_T: Tensor, regions_T: Tensor, samples_C: Tensor
) -> TraceStatistics:
    """The statistics of some tokens. ``labels_T`` are 1, 0, or -1 without a label; z_LTE has no layers if none is kept.

    Raises DataError if an id stands for no expert of the model and not for "none" either.
    """
    n_classes, n_spans, n_experts = len(CLASSES), len(REGIONS), z_LTE.shape[2]
    cells_T = labels_T.remainder(n_classes) * n_spans + regions_T  # -1 is the last class
    tokens_CS = cells_T.bincount(minlength=n_classes * n_spans).view(n_classes, n_spans)
    selected_CSLE = _selected(selected_TLK, cells_T, n_classes * n_spans, n_experts).view(
        n_classes, n_spans, -1, n_experts
    )
    spread = _spread(z_LTE, regions_T <= PROMPT) if len(z_LTE) else None
    return TraceStatistics(samples_C, tokens_CS, selected_CSLE, spread)


_OF_SPREAD = ("mean", "squares", "low", "high")


def _selected(selected_TLK: Tensor, cells_T: Tensor, n_cells: int, n_experts: int) -> Tensor:
    """Selections by cell, layer and expert: int64 [cells, L, E]."""
    if int(selected_TLK.max()) > n_experts:
        raise DataError(f"a token selected expert {int(selected_TLK.max())}, but the model has {n_experts}")
    n_layers = selected_TLK.shape[1]
    places_TL = cells_T[:, None] * n_layers + torch.arange(n_layers)
    # The id E, which stands for no expert, is counted beside them and dropped.
    flat_TLK = places_TL[..., None] * (n_experts + 1) + selected_TLK
    counts = flat_TLK.flatten().bincount(minlength=n_cells * n_layers * (n_experts + 1))
    return counts.view(n_cells, n_layers, n_experts + 1)[..., :n_experts]


def _spread(z_LTE: Tensor, before_T: Tensor) -> Spread:
    """In float32 about a mean that is nearly right, and summed over the tokens in float64."""
    by_layer = [_moments(z_TE if before_T.all() else z_TE[before_T]) for z_TE in z_LTE]
    values = int(before_T.sum()) * z_LTE.shape[2]
    return Spread(values, *(torch.tensor(column, dtype=torch.float64) for column in zip(*by_layer, strict=True)))


def _moments(z_TE: Tensor) -> tuple[float, float, float, float]:
    if not z_TE.numel():
        return 0.0, 0.0, 0.0, 0.0
    low, high = (float(bound) for bound in z_TE.aminmax())
    distance_TE = z_TE.float()
    about = float(distance_TE.mean())
    distance_TE -= about
    rest = float(distance_TE.sum(dim=1).double().sum()) / z_TE.numel()
    squares = float(distance_TE.square_().sum(dim=1).double().sum()) - z_TE.numel() * rest**2
    return about + rest, squares, low, high
