"""The connection of this process to Ray: a process has one, which its pools share until the last of them leaves."""

from threading import Lock

import ray

from mascing.progress import waiting_for
from mascing.schemas.config import ComputeConfig
from mascing.tasks.running.cluster import Cluster, connect, connecting


class Connection:
    """A connection that pools share; made by the first one, for instance with a local Ray of its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cluster: Cluster | None = None
        self._pools = 0

    def join(self, compute: ComputeConfig) -> bool:
        """Use the connection; False, and nothing to leave, if somebody else has connected this process to Ray.

        Raises the errors of `connect`.
        """
        with self._lock:
            if self._cluster is None:
                if ray.is_initialized():
                    return False
                with waiting_for(connecting()):
                    self._cluster = connect(compute)
            self._pools += 1
            return True

    def leave(self) -> bool:
        """Use it no more; whether others still do. The last one disconnects, and ends a local Ray."""
        with self._lock:
            self._pools -= 1
            if self._pools:
                return True
            cluster, self._cluster = self._cluster, None
            assert cluster is not None
            cluster.close()
            return False

    def refuse_lost(self) -> None:
        """Raise ServerError if the cluster does not answer any more."""
        if self._cluster is not None:
            self._cluster.refuse_lost()


OF_THIS_PROCESS = Connection()
