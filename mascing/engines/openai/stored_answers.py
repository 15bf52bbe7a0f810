"""Paid answers on storage, each one object that is made once: what was paid is found again, whoever asks."""

import json
from dataclasses import asdict
from typing import Any

from mascing.engines.engine import Usage
from mascing.engines.openai.answer import ChatAnswer, Completion
from mascing.errors import ConflictError, DamagedError, DataError
from mascing.schemas.settings.engine_settings import OpenAIEngine
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json


def answers_folder(config: OpenAIEngine) -> str:
    """Where the answers of a model at an endpoint stand."""
    return f"answers/{fingerprint({'base_url': config.base_url, 'model': config.model})}"


class PaidAnew(Storage):
    """A storage whose answers do not count, while its budgets do: every question is paid, and no answer is kept."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage._store)


class StoredAnswers:
    """The answers of one model at one endpoint.

    An object is named by its request, and holds it beside the response and what that took. An object is written whole
    or not at all, and carries a seal: one that was damaged is refused, and never paid again unseen.
    """

    def __init__(self, storage: Storage, config: OpenAIEngine) -> None:
        self._storage = storage
        self._folder = answers_folder(config)

    def get(self, request: dict[str, Any]) -> ChatAnswer | None:
        """The answer to an equal request, or None. Raises DamagedError if its bytes are not those written."""
        path = self._path(request)
        try:
            data = self._storage.read(path)
        except FileNotFoundError:
            return None
        place = self._storage.locate(path)
        try:
            stored = json.loads(open_json(data, place))
            if stored["request"] != request:
                raise DamagedError(f"{place} answers another request: delete it and run again")
            return Completion.read(stored["response"]).answer(Usage(**stored["usage"]), stored=True)
        except (DataError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{place} is damaged: delete it and run again, which pays this request anew") from error

    def put(self, request: dict[str, Any], response: str, usage: Usage) -> ChatAnswer:
        """Keep a response that was paid, and return the answer: another process's, if that one was first."""
        stored = {"request": request, "response": response, "usage": asdict(usage)}
        try:
            self._storage.create(self._path(request), seal_json(json.dumps(stored, ensure_ascii=False)))
        except ConflictError:
            first = self.get(request)
            if first is not None:
                return first
            raise
        return Completion.read(response).answer(usage)

    def _path(self, request: dict[str, Any]) -> str:
        return f"{self._folder}/{fingerprint(request)}.json"
