"""Follow the forwards of a steered model: which rows each has, which tokens are real, and which the masks act on.

Shape suffixes: R row that a mask was given for, B row of the batch, T token of the forward, N = B * T in row-major
order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from mascing.errors import SteeringError
from mascing.models.batching import batch_shape
from mascing.routers.proof import being_proved
from mascing.steering.generating import GenerateWatch, NextForward
from mascing.steering.one_thread import OneThread

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Tokens: TypeAlias = Literal["all", "prompt", "reply"]
"""The tokens that a mask acts on. Those that ``generate`` is given are the prompt, those that it makes the reply."""


@dataclass(frozen=True)
class Running:
    """The running forward: the tokens that the masks act on, bool [N, 1] (None for all), and how many of them count.

    Tokens count if they are real and their row has a mask.
    """

    acts_N1: Tensor | None
    count: int | Tensor


class Forwards:
    """Watches the forwards of ``model`` until :meth:`remove`, and refuses those whose rows or tokens it cannot tell.

    It also refuses those of a thread while another has the ``turn``. Within a compiled graph, which holds its forward
    itself, it does not look for threads.

    With ``by_row``, a batch must have one row for each mask. Inside ``generate`` it may also be a multiple of that:
    beam search and several returned sequences copy each row, in place and next to each other.
    """

    def __init__(self, model: "PreTrainedModel", tokens: Tokens, has_mask: Sequence[bool], by_row: bool) -> None:
        """Start to watch; ``has_mask`` says it for each row, or once for all rows."""
        self._model, self._tokens, self._by_row = model, tokens, by_row
        self.has_mask = list(has_mask)
        self._running: Running | None = None
        self._marked: Tensor | None = None
        self.turn = OneThread()
        self._has_turn = False
        self._generate = GenerateWatch(
            model,
            self.turn,
            rows=len(has_mask) if by_row else None,
            packing=_packing_complaint(tokens, by_row),
        )
        decoder = model.get_decoder()
        self._hooks = [
            decoder.register_forward_pre_hook(self._start, with_kwargs=True),
            decoder.register_forward_hook(self._end, always_call=True),
        ]

    def remove(self) -> None:
        """Stop watching."""
        for hook in self._hooks:
            hook.remove()
        self._generate.remove()

    def current(self) -> Running | None:
        """What the running forward holds; None outside of one, where a mask for all tokens acts but does not count."""
        running = self._running
        if not torch.compiler.is_compiling() and self.turn.is_elsewhere():
            running = None  # that of another thread: this one is in a copy of the model
        if running is None and self._tokens != "all":
            raise SteeringError(
                f"a mask with tokens={self._tokens!r} cannot tell which tokens pass a router outside a forward of the "
                "whole model: gradient checkpointing recomputes them so, and a copy of the model has routers without a "
                "forward of its own"
            )
        return running

    @contextmanager
    def marked(self, reply_BT: Tensor) -> Iterator[None]:
        """Within the context, ``reply_BT`` says of each token of a forward whether it belongs to the reply."""
        if not isinstance(reply_BT, Tensor) or reply_BT.dtype != torch.bool or reply_BT.dim() != 2:
            raise SteeringError(
                f"a mark is a bool tensor [rows, tokens], true in the reply, not {_described(reply_BT)}"
            )
        with self.turn:
            self._marked = reply_BT
            try:
                yield
            finally:
                self._marked = None

    def _start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling():
            self._take_turn()
        shape = batch_shape(args, kwargs)
        if self._by_row:
            self._refuse_other_rows(shape[0])
        coming = self._generate.taken(shape)
        real_BT = coming.real_BT if coming is not None else _real(args, kwargs, shape)
        acts_BT = None if self._tokens == "all" else self._acts(shape, coming)
        self._running = Running(
            None if acts_BT is None else acts_BT.reshape(-1, 1),
            self._count(shape, [chosen for chosen in (real_BT, acts_BT) if chosen is not None]),
        )

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not torch.compiler.is_compiling() and self.turn.is_elsewhere():
            return  # this forward was refused
        # What gradient checkpointing recomputes for a backward pass runs outside the decoder's forward.
        self._running = None
        if self._has_turn:
            self._has_turn = False
            self.turn.give_back()

    def _take_turn(self) -> None:
        self.turn.take()
        if self._has_turn:  # Ctrl-C left the forward before, of this thread, without its end
            self.turn.give_back()
        self._has_turn = True

    def _acts(self, shape: tuple[int, int], coming: NextForward | None) -> Tensor | None:
        reply_BT = self._marked if self._marked is not None else coming.reply_BT if coming is not None else None
        if reply_BT is None:
            if not torch.compiler.is_compiling() and being_proved(self._model):
                return None
            raise SteeringError(
                f"a mask with tokens={self._tokens!r} cannot tell prompt from reply in a plain forward: use "
                "model.generate, or mark the reply: `with handle.marked(reply): model(...)`, a bool tensor [rows, "
                "tokens]"
            )
        if tuple(reply_BT.shape) != shape:
            raise SteeringError(f"the mark is for {list(reply_BT.shape)} (rows, tokens), the forward has {list(shape)}")
        return reply_BT if self._tokens == "reply" else ~reply_BT

    def _count(self, shape: tuple[int, int], chosen: Sequence[Tensor]) -> int | Tensor:
        batch, length = shape
        rows = [masked for masked in self.has_mask for _ in range(batch // len(self.has_mask))]
        if not self._by_row:
            rows = self.has_mask * batch
        if not chosen:
            return sum(rows) * length
        counted_BT = chosen[0] if len(chosen) == 1 else chosen[0] & chosen[1].to(chosen[0].device)
        if not all(rows):
            counted_BT = counted_BT & torch.tensor(rows, device=counted_BT.device)[:, None]
        return counted_BT.sum()

    def _refuse_other_rows(self, batch: int) -> None:
        wanted = len(self.has_mask)
        if batch != wanted and not (self._generate.runs and batch % wanted == 0):
            raise SteeringError(
                f"masks were given for {'1 row' if wanted == 1 else f'{wanted} rows'}, but the batch has {batch}: pass "
                "one mask or None for each row, or a bare mask for all rows"
            )


def _real(args: tuple[Any, ...], kwargs: dict[str, Any], shape: tuple[int, int]) -> Tensor | None:
    """The real tokens of a plain forward, bool [B, T], by a 2D attention mask; None where there is none.

    With a cache, the attention mask also covers the tokens before.
    """
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape[1] < shape[1]:
        return None
    return mask[:, mask.shape[1] - shape[1] :].bool()


def _packing_complaint(tokens: Tokens, by_row: bool) -> str | None:
    """Why continuous batching is refused, if it is: it packs requests into one row."""
    if by_row:
        return (
            "continuous batching packs requests into one row, so masks for rows cannot be told apart: "
            "steer with one mask for all requests"
        )
    if tokens != "all":
        return (
            "continuous batching packs prompts and replies into one row, so they cannot be told apart: "
            'steer with tokens="all"'
        )
    return None


def _described(mark: object) -> str:
    return f"{mark.dtype} {list(mark.shape)}" if isinstance(mark, Tensor) else type(mark).__name__
