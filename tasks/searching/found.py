"""What a search found, as one object: a file of the stage, what it cost, and a note for who watches."""

import pyarrow as pa
from pydantic import ValidationError

from mascing.errors import DataError
from mascing.schemas.base import Frozen
from mascing.schemas.cards.search_cost import SearchCost
from mascing.storage import parquet


class Found(Frozen):
    """The ``rows`` of ``data`` are candidates, or the layers of an attribution."""

    data: bytes
    rows: int
    cost: SearchCost
    note: str

    def to_bytes(self) -> bytes:
        """A sealed Parquet file of one row: the data, and the rest as JSON."""
        about = self.model_dump_json(exclude={"data"})
        return parquet.to_bytes(pa.table({"data": pa.array([self.data], pa.large_binary()), "about": [about]}))

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Found":
        """Inverse of :meth:`to_bytes`; raises DataError, which calls it ``name``, for any other bytes."""
        [row] = parquet.from_bytes(data, name).to_pylist()
        try:
            about = cls.model_validate_json('{"data": "",' + row["about"][1:])
        except (ValidationError, KeyError) as error:
            raise DataError(f"{name} holds no result of a search ({error}): delete it and run again") from error
        return about.model_copy(update={"data": row["data"]})
