"""Gradients of batches in parts that fit into memory.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mascing.circuits.gradient.frozen import can_recompute, recomputed
from mascing.circuits.gradient.straight_through import StraightThrough
from mascing.engines.likelihood import ReplyBatch
from mascing.errors import ModelError
from mascing.models.out_of_memory import is_out_of_memory
from mascing.schemas.config import ComputeConfig

DEFAULT = ComputeConfig()


class BackwardPasses:
    """Backward passes through a model, each of at most `compute.backward_tokens` tokens, padding included.

    A pass reads whole conversations, at least one. When memory runs out, the passes become half as long. When a single
    conversation does not fit, its layers are recomputed, unless `compute.gradient_checkpointing` forbids it.
    ``note`` says to what it came. A gradient does not depend on its parts, except for rounding.
    """

    def __init__(self, model: nn.Module, compute: ComputeConfig) -> None:
        self._model, self._checkpointing = model, compute.gradient_checkpointing
        self._tokens, self._recompute = compute.backward_tokens, compute.gradient_checkpointing is True
        self.note = ""

    def gradient(self, batch: ReplyBatch, loss: Callable[[ReplyBatch], Tensor], through: StraightThrough) -> Tensor:
        """Return the gradient of ``loss`` at the S of ``through``, float32 [L, E].

        ``loss`` of a batch is a sum over its conversations. Raises ModelError if memory does not suffice for one.
        """
        tokens = batch.ids_BT.shape[1] * batch.replies
        total_LE = torch.zeros_like(through.S_LE, requires_grad=False)
        start = 0
        while start < len(batch):
            chosen = range(start, min(start + max(1, self._tokens // tokens), len(batch)))
            gradient_LE = self._attempt(batch, chosen, loss, through)
            if gradient_LE is None:
                self._make_room(len(chosen), tokens)
            else:
                total_LE += gradient_LE
                start = chosen.stop
        return total_LE

    def _attempt(
        self, batch: ReplyBatch, chosen: range, loss: Callable[[ReplyBatch], Tensor], through: StraightThrough
    ) -> Tensor | None:
        """Return the gradient of the chosen conversations; None if memory ran out."""
        through.rows = batch.rows_of(chosen)
        try:
            with recomputed(self._model) if self._recompute else nullcontext():
                return torch.autograd.grad(loss(batch.part(chosen)), through.S_LE)[0]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only now, outside the handler, do the error and the frames of its traceback let go of their tensors.
        through.forget()
        torch.cuda.empty_cache()
        return None

    def _make_room(self, conversations: int, tokens: int) -> None:
        """Take fewer conversations of ``tokens`` tokens to a pass than these, or recompute layers."""
        if conversations > 1:
            self._tokens = conversations // 2 * tokens
            self.note = f"memory ran out: at most {self._tokens} tokens in a backward pass"
        elif not self._recompute and self._checkpointing is None and can_recompute(self._model):
            self._recompute = True
            self.note = f"memory ran out on one conversation of {tokens} tokens: layers are recomputed"
        else:
            allow = "set compute.gradient_checkpointing to true, " if self._checkpointing is False else ""
            raise ModelError(
                f"the backward pass of one conversation of {tokens} tokens, padding and all replies included, does not "
                f"fit into memory: {allow}leave out long conversations (behaviour.max_characters), or spread the model "
                "over more GPUs (model.device: auto)"
            )
