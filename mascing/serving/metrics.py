"""What a server of masks tells Prometheus.

Shapes: L MoE layer, E expert.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mascing.schemas.cards.routing_rates import RoutingRates
from mascing.serving.in_force import InForce
from mascing.serving.mask_table import MaskTable
from mascing.statistics.routing_shift import moved_share

Selected = Callable[[], Mapping[int, Sequence[int]]]
"""How often each expert of each MoE layer was selected so far, by depth of the layer."""

NOT_STEERED = "none"


class ServingMetrics:
    """Counters of one server, and what is read of its masks at each scrape.

    ``selected`` counts the selections of the tokens on which no mask acts: the card's rates are those of the unsteered
    model, and a mask changes what is selected, so tokens under a mask would show the mask and no drift. The card's
    tokens are those of the last user turn; live ones are of whole conversations about other things. So the share that
    moved is above 0 from the start, and its change over time is what tells of drift.
    """

    def __init__(self, table: MaskTable, selected: Selected | None = None) -> None:
        self.registry = CollectorRegistry()
        self.card: RoutingRates | None = None
        """The routing on the card of the mask that is followed."""
        self._replies = Counter(
            "mascing_replies", "Replies that are done, by the mask in force.", ["digest"], registry=self.registry
        )
        self._steered = Counter(
            "mascing_steered_tokens", "Tokens that masks acted on, by MoE layer.", ["layer"], registry=self.registry
        )
        self._swaps = Counter("mascing_swaps", "Times the default became another mask.", registry=self.registry)
        self._refusals = Counter(
            "mascing_refusals", "Masks and requests that were refused, by reason.", ["reason"], registry=self.registry
        )
        self.registry.register(_AtEachScrape(self, table, selected))

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)

    def replied(self, in_force: InForce, replies: int = 1) -> None:
        """Count replies that are done, of which ``in_force`` tells in all."""
        self._replies.labels(in_force.digest or NOT_STEERED).inc(replies)
        for layer, tokens in in_force.steered_tokens.items():
            self._steered.labels(layer).inc(tokens)

    def swapped(self) -> None:
        """Count a change of the default."""
        self._swaps.inc()

    def refused(self, reason: str) -> None:
        """Count a refusal: of a channel's mask by its reason, of a request by ``request``, of a load by ``control``."""
        self._refusals.labels(reason).inc()


class _AtEachScrape(Collector):
    def __init__(self, metrics: ServingMetrics, table: MaskTable, selected: Selected | None) -> None:
        self._metrics, self._table, self._selected = metrics, table, selected

    def collect(self) -> Iterator[Metric]:
        named, default = self._table.named, self._table.default
        active = GaugeMetricFamily(
            "mascing_default_mask", "1 for the mask of requests that ask for none.", labels=["mask", "digest"]
        )
        active.add_metric(
            [default or NOT_STEERED, named.get(default or "", NOT_STEERED)],
            1,
        )
        yield active
        yield GaugeMetricFamily("mascing_masks_held", "Names of masks that the server holds.", value=len(named))
        card = self._metrics.card
        if self._selected is not None and card is not None:
            yield _drift(card, self._selected())


def _drift(card: RoutingRates, selected: Mapping[int, Sequence[int]]) -> Metric:
    """The share of selections that went to other experts than on the card's conversations, by layer."""
    moved = GaugeMetricFamily(
        "mascing_routing_moved",
        "Share of the selections of unsteered tokens that went to other experts than the card of the mask says.",
        labels=["layer"],
    )
    for layer, rates_E in zip(card.layers, card.rates, strict=True):
        now_E = np.asarray(selected.get(layer, ()), dtype=float)
        then_E = np.asarray(rates_E)
        if now_E.shape != then_E.shape or not now_E.sum() or not then_E.sum():
            continue
        # Both as selections per token: a layer selects equally many for each.
        change_1LE = (now_E * (then_E.sum() / now_E.sum()) - then_E)[None, None]
        moved.add_metric([str(layer)], float(moved_share(change_1LE, then_E.sum()[None])[0, 0]))
    return moved
