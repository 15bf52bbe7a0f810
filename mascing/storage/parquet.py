"""Small tables as Parquet bytes: equal tables give equal bytes, and a damaged byte does not go unnoticed."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from mascing.errors import DataError
from mascing.storage.sealing import UNSEALED, check, seal


def to_bytes(table: pa.Table) -> bytes:
    """The table as one sealed Parquet file with page checksums."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(UNSEALED)
    return seal(buffer)


def from_bytes(data: bytes, name: str = "a Parquet file") -> pa.Table:
    """Inverse of :func:`to_bytes`; raises DataError, which calls the file ``name``, if a byte of it has changed."""
    check(data, name)
    return table_of(data, name)


def table_of(data: bytes, name: str = "a Parquet file") -> pa.Table:
    """The table in bytes that a manifest has vouched for; a seal is not asked for, as earlier versions set none."""
    try:
        return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{name} is no Parquet file: {error}; delete it and run again") from error
