"""Follow ``generate``: what it will pass to the model next, told apart into prompt, reply and padding.

Transformers prepares the inputs of every forward in ``prepare_inputs_for_generation``, outside compiled graphs and with
the attention mask as it was given. A static cache, chunked prefill or beam search hide it from the model itself.
Shape suffixes: B row of the batch, T token of the forward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from mascing.errors import SteeringError
from mascing.steering.one_thread import OneThread

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class NextForward:
    """The tokens of the next forward, bool [B, T]: which are real, and which belong to the reply."""

    real_BT: Tensor
    reply_BT: Tensor


_SHADOWED = ("generate", "prepare_inputs_for_generation", "init_continuous_batching")


class GenerateWatch:
    """Watches ``generate`` of one model until :meth:`remove`.

    Each has the ``turn`` while it runs. ``rows`` is the number of prompts that it must be given, or None for any;
    ``packing`` is why continuous batching is refused, or None.
    """

    def __init__(self, model: "PreTrainedModel", turn: OneThread, rows: int | None, packing: str | None) -> None:
        """Shadow the methods of the model."""
        self._model, self._turn, self._rows, self._packing = model, turn, rows, packing
        self._prompt: _Prompt | None = None
        self._next: NextForward | None = None
        # An attribute of the instance shadows the method of its class; a user may have set one before.
        self._own = {name: model.__dict__[name] for name in _SHADOWED if name in model.__dict__}
        model.__dict__["generate"] = self._generate
        model.__dict__["prepare_inputs_for_generation"] = _Preparation(self, model)
        if packing is not None:
            model.__dict__["init_continuous_batching"] = self._refuse_packing

    @property
    def runs(self) -> bool:
        """Whether ``generate`` is running."""
        return self._prompt is not None

    def prepared(self, input_ids: Tensor, inputs: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
        """Note what the next forward holds: ``inputs``, which were prepared from the other two."""
        with self._turn:
            if self._prompt is not None:
                self._next = self._prompt.next_forward(input_ids, inputs, kwargs)

    def taken(self, shape: tuple[int, int]) -> NextForward | None:
        """What is known of the forward that starts; None for one that ``generate`` did not prepare."""
        coming, self._next = self._next, None
        return coming if coming is not None and tuple(coming.real_BT.shape) == shape else None

    def remove(self) -> None:
        """Stop watching."""
        for name in _SHADOWED:
            self._model.__dict__.pop(name, None)
        self._model.__dict__.update(self._own)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_other_rows(args, kwargs)
        with self._turn:
            around = self._prompt
            self._prompt = _Prompt.of(self._model, args, kwargs)
            try:
                if "generate" in self._own:
                    return self._own["generate"](*args, **kwargs)
                return type(self._model).generate(self._model, *args, **kwargs)
            finally:
                self._prompt, self._next = around, None

    def _refuse_other_rows(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for tensor in _inputs(args, kwargs):
            if self._rows is not None and tensor.shape[0] != self._rows:
                given = "1 row" if self._rows == 1 else f"{self._rows} rows"
                raise SteeringError(
                    f"masks were given for {given}, but {tensor.shape[0]} prompts: "
                    "pass one mask or None for each row, or a bare mask for all rows"
                )

    def _refuse_packing(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SteeringError(self._packing)


class _Preparation:
    """Shadows ``prepare_inputs_for_generation``. An object, because a copy of the model must get a copy of it that
    calls the copy, and because transformers reads the signature."""

    def __init__(self, watch: GenerateWatch, model: "PreTrainedModel") -> None:
        self._watch, self._model = watch, model
        self.__signature__ = signature(model.prepare_inputs_for_generation)

    def __call__(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        inputs = type(self._model).prepare_inputs_for_generation(self._model, input_ids, *args, **kwargs)
        self._watch.prepared(input_ids, inputs, kwargs)
        return inputs


@dataclass(frozen=True)
class _Prompt:
    """The prompt of a running ``generate``: its length in columns, padding included, and the ids that end a reply.

    A row that has ended goes on with padding, if other rows do. Its end token is not counted either: it is passed to
    the model only for the sake of the other rows.
    """

    length: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, model: "PreTrainedModel", args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_Prompt":
        mask = kwargs.get("attention_mask")
        lengths = [tensor.shape[1] for tensor in (*([mask] if mask is not None else []), *_inputs(args, kwargs))]
        given = kwargs.get("generation_config", args[1] if len(args) > 1 else None)

        def setting(name: str) -> Any:
            if name in kwargs:  # also None, which unsets it
                return kwargs[name]
            own: Any = getattr(given, name, None)
            return own if own is not None else getattr(model.generation_config, name, None)

        ends = _ids(setting("eos_token_id"))
        if setting("stop_strings") is not None or kwargs.get("stopping_criteria") is not None:
            # Nothing but the padding after it shows that a row has ended so.
            ends += _ids(setting("pad_token_id"))
        # Without a prompt, generate starts from the one token that begins a text.
        return cls(max(lengths, default=1), ends)

    def next_forward(self, input_ids: Tensor, inputs: Mapping[str, Any], kwargs: Mapping[str, Any]) -> NextForward:
        """The tokens of ``inputs``, the next forward.

        ``input_ids`` [B, tokens so far] and ``kwargs`` are what they were prepared from.
        """
        tokens = inputs["input_ids"] if inputs.get("input_ids") is not None else inputs["inputs_embeds"]
        batch, length = tokens.shape[:2]
        mask = kwargs.get("attention_mask")
        # transformers 5.24 calls the cache by its other name.
        start = _start(input_ids, length, mask, kwargs.get("past_key_values", kwargs.get("cache")))
        in_reply_T = torch.arange(start, start + length, device=input_ids.device) >= self.length
        real_BT = torch.ones((batch, length), dtype=torch.bool, device=input_ids.device)
        if mask is not None:
            real_BT = mask[:, start : start + length].bool().to(input_ids.device)
        replied = start + length - self.length
        if replied > 0:
            ended_BT = self._ended(input_ids[:, -replied:])[:, -length:]
            real_BT = torch.cat([real_BT[:, : length - ended_BT.shape[1]], ~ended_BT], dim=1)
        return NextForward(real_BT, in_reply_T.expand(batch, length))

    def _ended(self, reply_ids: Tensor) -> Tensor:
        """Whether a row has ended at or before each token of its reply so far, bool of the same shape."""
        ends = torch.tensor(self.ends, device=reply_ids.device, dtype=reply_ids.dtype)
        return torch.isin(reply_ids, ends).cumsum(1) > 0


def _ids(setting: int | Sequence[int] | Tensor | None) -> tuple[int, ...]:
    if setting is None:
        return ()
    return tuple(int(token) for token in torch.as_tensor(setting).flatten())


def _start(input_ids: Tensor, length: int, mask: Tensor | None, cache: Any) -> int:
    """The column of the first token of a forward; transformers drops an attention mask without padding."""
    if mask is not None:
        return int(mask.shape[1]) - length
    return int(cache.get_seq_length()) if cache is not None else int(input_ids.shape[1]) - length


def _inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The prompts that ``generate`` was given, as ids or embeddings."""
    inputs = (*args[:1], *(kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds")))
    return [tensor for tensor in inputs if isinstance(tensor, Tensor)]
