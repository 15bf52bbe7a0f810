"""The forward that proves what was installed on a model. Nobody who watches the model is told of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import nn

from mascing.routers.spec import Router

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mascing.routers.tap import Tap

_in_proof: WeakSet[nn.Module] = WeakSet()


@contextmanager
def proof_forward(
    model: "PreTrainedModel", routers: Sequence[Router], compiled: Callable[..., Any] | None = None
) -> Iterator[int]:
    """Run 2 tokens per row through the model, or a compiled callable of it, and yield their number.

    Within the context, the taps in force count from zero. Their watches, and whoever asks :func:`being_proved`, are
    told nothing.
    """
    taps = {id(tap): tap for router in routers for tap in _taps_on(router)}.values()
    batch = max((rows for tap in taps for rows in tap.batches), default=1)
    device = model.get_input_embeddings().weight.device
    tokens = torch.ones((batch, 2), dtype=torch.long, device=device)
    with ExitStack() as stack:
        for tap in taps:
            stack.enter_context(tap.proof())
        _in_proof.add(model)
        stack.callback(_in_proof.discard, model)
        with torch.no_grad():
            (model.get_decoder() if compiled is None else compiled)(input_ids=tokens, use_cache=False)
        yield tokens.numel()


def being_proved(model: nn.Module) -> bool:
    """Whether the forward that runs is a proof, so that it is not to be recorded."""
    return model in _in_proof


def taps_of(module: nn.Module) -> dict[str, "Tap"]:
    """The taps in force on a module, by the attribute that they tap."""
    return getattr(type(module), "_mascing_taps", {})


def _taps_on(router: Router) -> list["Tap"]:
    owners = [router.owner, *([router.correction_owner] if router.correction_owner is not None else [])]
    return [tap for owner in owners for tap in taps_of(owner).values()]
