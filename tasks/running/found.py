"""What a search found, as one object: a file of the stage, what it cost, and a note for who watches."""

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from mascing.errors import DataError
from mascing.schemas.base import Frozen
from mascing.schemas.cards.search_cost import SearchCost


class Found(Frozen):
    """The ``rows`` of ``data`` are candidates, or the layers of an attribution."""

    data: bytes
    rows: int
    cost: SearchCost
    note: str

    def to_bytes(self) -> bytes:
        """A safetensors file of two tensors of bytes: the data, and the rest as JSON."""
        about = self.model_dump_json(exclude={"data"}).encode()
        return bytes(save({name: _tensor(content) for name, content in (("data", self.data), ("about", about))}))

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Found":
        """Inverse of :meth:`to_bytes`; raises DataError, which calls it ``name``, for any other bytes."""
        try:
            tensors = load(data)
            about = cls.model_validate_json(b'{"data": "",' + tensors["about"].numpy().tobytes()[1:])
        except (SafetensorError, ValidationError, KeyError) as error:
            raise DataError(f"{name} holds no result of a search ({error}): delete it and run again") from error
        return about.model_copy(update={"data": tensors["data"].numpy().tobytes()})


def _tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
