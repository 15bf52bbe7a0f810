"""Gather the requests that wait into batches for one model, on a thread of its own."""

import logging
import threading
from collections.abc import Sequence

from mascing.errors import MascingError, ServerError
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.serving.thin_endpoint.asked import Asked
from mascing.serving.thin_endpoint.decoding import write_replies
from mascing.serving.thin_endpoint.selections import Selections
from mascing.steering.steer import steer

_log = logging.getLogger(__name__)


class Batcher:
    """Replies to what is asked, first come first served, up to ``rows`` requests at a time; each is told one end.

    A batch holds the requests that wait and whose ``tokens`` and temperature are those of the first one, each with its
    own mask. What comes while it runs waits for the next.
    """

    def __init__(self, loaded: Loaded, rows: int) -> None:
        self._loaded, self._rows = loaded, rows
        self.selections = Selections(loaded.model)
        self._waiting: list[Asked] = []
        self._changed = threading.Condition()
        self._stops = False
        self._model = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)

    @property
    def replies(self) -> bool:
        """Whether it replies to what is asked."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to reply."""
        self._thread.start()

    def stop(self) -> None:
        """End what is being written, refuse what waits, and return when the model is idle."""
        with self._changed:
            self._stops = True
            self._changed.notify()
        self._thread.join()

    def ask(self, asked: Asked) -> None:
        """Have a reply written; its ``tell`` hears of it."""
        with self._changed:
            self._waiting.append(asked)
            self._changed.notify()

    def prove(self, mask: Mask) -> None:
        """Steer the model with the mask once. Raises MaskError or SteeringError if it cannot be."""
        with self._model, steer(self._loaded.model, mask):
            pass

    def _run(self) -> None:
        while batch := self._next():
            with self._model:
                self._reply_to(batch)
        for asked in self._waiting:
            asked.tell(ServerError("the server stops: ask again once it is back"))

    def _next(self) -> list[Asked]:
        """The next batch; empty if the server stops."""
        with self._changed:
            while True:
                if self._stops:
                    return []
                if self._waiting:
                    break
                self._changed.wait()
            first = self._waiting[0]
            alike = [asked for asked in self._waiting if _kind(asked) == _kind(first)][: self._rows]
            self._waiting = [asked for asked in self._waiting if not any(asked is taken for taken in alike)]
            return alike

    def _reply_to(self, batch: Sequence[Asked]) -> None:
        try:
            done = write_replies(self._loaded, batch, self.selections, lambda: self._stops)
        except Exception as error:  # noqa: BLE001  # the next batch may do better, whatever this one met
            if not isinstance(error, MascingError):
                _log.exception("a batch of %d replies failed", len(batch))
            for asked in batch:
                asked.tell(error)
            return
        for asked, reply in zip(batch, done, strict=True):
            asked.tell(reply)


def _kind(asked: Asked) -> tuple[str, float]:
    return asked.tokens, asked.temperature
