"""Tables that wait for their turn on the local disk, once there are too many for the memory."""

from tempfile import SpooledTemporaryFile

import pyarrow as pa

_IN_MEMORY = 2**24


class Spilled:
    """Small tables by name, of which any can be read again; they are gone with this object."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - it closes with this object
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, name: str, table: pa.Table) -> None:
        """Keep a table."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        self._file.seek(0, 2)
        self._places[name] = (self._file.tell(), len(data))
        self._file.write(data)

    def get(self, name: str) -> pa.Table:
        """The table of this name."""
        start, length = self._places[name]
        self._file.seek(start)
        return pa.ipc.open_stream(self._file.read(length)).read_all()
