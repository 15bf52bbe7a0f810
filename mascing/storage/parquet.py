"""Small tables as Parquet bytes: equal tables give equal bytes, and a damaged page does not go unnoticed."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from mascing.errors import DataError


def to_bytes(table: pa.Table) -> bytes:
    """The table as one Parquet file with page checksums."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def from_bytes(data: bytes) -> pa.Table:
    """Inverse of :func:`to_bytes`; raises DataError if the bytes are damaged."""
    try:
        return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"a damaged or foreign Parquet file: {error}; delete its stage folder and run again") from error
