"""Check that a batch has as many rows as there are per-row masks."""

from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor, nn

from mascing.errors import SteeringError
from mascing.models.batching import batch_shape

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_SHADOWED = ("generate", "init_continuous_batching")


class RowGuard:
    """Refuses every forward whose batch does not have ``rows`` rows.

    Inside ``generate``, a batch may also be a multiple of that: beam search and several returned sequences copy each
    row, in place and next to each other. Continuous batching packs requests into one row and is refused.
    """

    def __init__(self, model: "PreTrainedModel", rows: int) -> None:
        """Watch ``model`` until :meth:`remove`."""
        self._model, self._rows = model, rows
        self._given = "1 row" if rows == 1 else f"{rows} rows"
        self._generating = False
        self._hook = model.get_decoder().register_forward_pre_hook(self._check, with_kwargs=True)
        # An attribute of the instance shadows the method of its class; a user may have set one before.
        self._generate_before = model.generate
        self._own_before = {name: model.__dict__[name] for name in _SHADOWED if name in model.__dict__}
        model.__dict__.update(dict(zip(_SHADOWED, (self._generate, self._refuse_packing), strict=True)))

    def remove(self) -> None:
        """Stop watching."""
        self._hook.remove()
        for name in _SHADOWED:
            self._model.__dict__.pop(name, None)
        self._model.__dict__.update(self._own_before)

    def _check(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        batch, _ = batch_shape(args, kwargs)
        if batch != self._rows and not (self._generating and batch % self._rows == 0):
            raise SteeringError(
                f"masks were given for {self._given}, but the batch has {batch}: pass one mask or None for each row, "
                "or a bare mask for all rows"
            )

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        inputs = [*args[:1], *(kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds"))]
        for tensor in inputs:
            if isinstance(tensor, Tensor) and tensor.shape[0] != self._rows:
                raise SteeringError(
                    f"masks were given for {self._given}, but {tensor.shape[0]} prompts: "
                    "pass one mask or None for each row, or a bare mask for all rows"
                )
        self._generating = True
        try:
            return self._generate_before(*args, **kwargs)
        finally:
            self._generating = False

    def _refuse_packing(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SteeringError(
            "continuous batching packs requests into one row, so masks for rows cannot be told apart: "
            "steer with one mask for all requests"
        )
