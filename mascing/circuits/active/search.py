"""Masks learned from trials: rounds of proposing masks, judging replies under them and learning from the outcome.

This works with engines that give no gradients: it needs only judged replies of the steered model and their router
logits. A surrogate fitted to unsteered traces mistakes correlates of the behaviour for causes. A surrogate that sees
the verdicts on its own proposals unlearns this, because there the mask changed the routing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile

from torch import Tensor

from mascing.circuits.active.learner import Learner
from mascing.circuits.active.trials import Engine
from mascing.circuits.method import Asked, Material, Past, Proposal
from mascing.routers.spec import RouterSpec
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import ActiveConfig, Span
from mascing.traces.trace_set import Traces

SPAN: Span = "question+prompt"
"""The tokens of a generation's prompt from the final user turn on."""


def candidates(
    engine: Engine,
    traces: Traces,
    conversations: Sequence[Conversation],
    spec: RouterSpec,
    sigma: Tensor,
    config: ActiveConfig,
    seed: int,
) -> Proposal:
    """Return one candidate per cell of l1 x alphas, after ``config.rounds`` rounds with ``config.budget`` generations.

    The budget is for all rounds together. ``traces`` and ``conversations`` are the whole training split; ``sigma`` [L]
    is the calibrated spread of each layer's logits. A cell's bias is ``alpha * sigma[:, None] * S``, where the non-zero
    entries of S have root mean square 1. At most `config.traces` of the traces are kept, on the local disk as what the
    trials leave. Raises DataError if no target conversation is labelled negative.
    """
    with _learner(traces, conversations, spec, sigma, config, seed) as learner:
        while not learner.finished:
            asked = learner.ask()
            tried = [conversations[place] for place in asked.places]
            learner.hear(engine(list(zip(tried, asked.masks, strict=True))))
        return learner.proposal()


def go_on(material: Material, config: ActiveConfig, state: bytes | None, past: Past) -> Asked | Proposal:
    """One step of the same search, for trials that others run: it finds the same masks, as `Method.go_on` describes."""
    with _learner(
        material.traces, material.conversations, material.spec, material.sigma_L, config, material.seed
    ) as learner:
        if state is not None:
            learner.resume(state)
        for trials in past:
            learner.hear(trials)
        return learner.proposal() if learner.finished else learner.ask()


@contextmanager
def _learner(
    traces: Traces,
    conversations: Sequence[Conversation],
    spec: RouterSpec,
    sigma: Tensor,
    config: ActiveConfig,
    seed: int,
) -> Iterator[Learner]:
    with TemporaryFile() as file:  # it has no name, and ends with this process at the latest
        yield Learner(file, traces.span(SPAN), conversations, spec, sigma, config, seed)
