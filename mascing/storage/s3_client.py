"""Calls of the S3 API under one policy of time limits and retries; neither botocore nor s3fs retries anything here.

docs/storage.md has the policy as a table.
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, TypeVar

import s3fs
from aiobotocore.session import AioSession
from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from fsspec.config import conf

from mascing.errors import StorageError

T = TypeVar("T")

# What another try can mend, by the code of the answer; an answer without a body, as to HEAD, has its status as code.
_PASSING = {
    "InternalError", "ServiceUnavailable", "SlowDown", "Throttling", "RequestTimeout",
    "500", "502", "503", "504", "429",
    "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody",  # the request was damaged on its way
    "ConditionalRequestConflict", "OperationAborted", "409",  # another write is under way: S3 asks to try again
}  # fmt: skip
_FAILURES = (OSError, BotoCoreError, HttpError, ResponseParserError, ValueError)
_BROKEN_OFF = (ConnectionError, HttpError, ResponseParserError)
_WRONG_SERVER = (NoConnectionError, ResponseParserError)
"""Errors of an address where no S3 server is."""
UNANSWERED = (NoConnectionError, HTTPClientError, TimeoutError)
"""Errors of a server that does not answer, or not in time."""

_HASTY_SECONDS = 15.0
"""The patience while a storage is opened."""


class ChecksumError(Exception):
    """The bytes that arrived are not those that were stored."""


class S3Failure(Exception):
    """A call that failed after ``tries``; ``code`` is S3's own, empty if there was no answer; the cause is attached."""

    def __init__(self, code: str, tries: int) -> None:
        super().__init__(code)
        self.code, self.tries = code, tries


@dataclass(frozen=True)
class RetryPolicy:
    """Time limits of a try, and how often a call is tried. All times are in seconds of the monotonic clock.

    A try ends if no connection is made within ``connect``, if nothing moves for ``silence``, or if a body of so many
    bytes takes longer than ``silence`` and ``least_speed`` (bytes a second) together allow. No try begins more than
    ``patience`` after the first. Pauses grow threefold from ``first_pause`` to ``longest_pause``, each shortened by
    chance, so that many workers do not come back at once. Bytes that fail their checksum are fetched
    ``checksum_tries`` times, and who makes no connection or speaks no S3 is asked ``wrong_server_tries`` times.
    """

    tries: int = 8
    checksum_tries: int = 4
    wrong_server_tries: int = 8
    patience: float = 120.0
    first_pause: float = 0.1
    longest_pause: float = 10.0
    connect: float = 5.0
    silence: float = 30.0
    least_speed: float = 2.0**20

    def limit(self, size: int) -> float:
        """Seconds that a try may take whose body has ``size`` bytes."""
        return self.connect + self.silence + size / self.least_speed

    def run(self, action: Callable[[], T]) -> T:
        """The result of ``action``, called again while its errors are of the passing kind. Raises S3Failure."""
        started, pause = time.monotonic(), self.first_pause
        for tried in range(1, self.tries + 1):
            try:
                return action()
            except (ChecksumError, *_FAILURES) as error:
                code, late = code_of(error), time.monotonic() - started + pause > self.patience
                if late or tried >= self._most(error) or not _passes(error, code):
                    raise S3Failure(code, tried) from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(3 * pause, self.longest_pause)
        raise AssertionError("a policy has at least one try")

    def _most(self, error: Exception) -> int:
        if isinstance(error, ChecksumError):
            return self.checksum_tries
        return self.wrong_server_tries if isinstance(error, _WRONG_SERVER) else self.tries


class S3Client:
    """The calls that a store needs of an S3 server. It may be shared by threads."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        """Take the standard AWS settings and fsspec's configuration of ``s3``; contacts nobody.

        The file system behind it is not shared: it has no cached listings, and no other code changes its settings.
        Raises StorageError for settings in ``FSSPEC_S3`` that would not be followed.
        """
        _refuse_unread(os.environ.get("FSSPEC_S3") or "{}")
        self._policy = policy or RetryPolicy()
        settings = {
            **conf.get("s3", {}).get("config_kwargs", {}),
            "connect_timeout": self._policy.connect,
            "read_timeout": self._policy.silence,
            "max_pool_connections": 32,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            # Checksums are this module's own, so that they are the same on servers that know none.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        self._s3 = s3fs.S3FileSystem(config_kwargs=settings, use_listings_cache=False, skip_instance_cache=True)
        if strangers := sorted(self._s3.kwargs.keys() - signature(AioSession).parameters.keys()):
            raise StorageError(f"FSSPEC_S3: the S3 client has no setting {', '.join(strangers)}: correct or remove it")
        self._s3.retries = 1

    def at_once(self) -> "S3Client":
        """The same client with less patience, and none for a server that is not there, so that it is told at once."""
        hasty = copy(self)
        hasty._policy = replace(self._policy, wrong_server_tries=1, patience=_HASTY_SECONDS)
        return hasty

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one call. Raises S3Failure."""
        limit = self._policy.limit(len(arguments.get("Body", b"")))
        return self._policy.run(lambda: self._within(limit, self._s3._call_s3, operation, **arguments))

    def get(self, bucket: str, key: str) -> tuple[bytes, dict[str, Any]]:
        """An object's bytes, checked against the SHA-256 that :meth:`put` left with it, and its head.

        Raises S3Failure; its cause is a ChecksumError if other bytes arrive time after time, or too few of them.
        """
        return self._policy.run(lambda: self._got(bucket, key))

    def get_range(self, bucket: str, key: str, start: int, stop: int) -> bytes:
        """An object's bytes from ``start`` to before ``stop``; only their number is checked. Raises S3Failure."""
        return self._policy.run(lambda: self._body(stop - start, bucket, key, Range=f"bytes={start}-{stop - 1}")[0])

    def put(self, bucket: str, key: str, data: bytes, **options: Any) -> None:
        """Store an object in one request that carries its SHA-256, for the server and for readers. Raises S3Failure."""
        digest = hashlib.sha256(data)
        self.call(
            "put_object", Bucket=bucket, Key=key, Body=data, Metadata=_left(digest), **_on_the_way(digest), **options
        )

    def put_in_parts(self, bucket: str, key: str, data: bytes, size: int, **options: Any) -> None:
        """Store an object in parts of ``size`` bytes; it appears as a whole or not at all.

        A condition among the options holds when the parts are joined. Raises S3Failure, and the parts are dropped.
        """
        condition = {name: options.pop(name) for name in ("IfNoneMatch", "IfMatch") if name in options}
        where = {"Bucket": bucket, "Key": key}
        started = self.call(
            "create_multipart_upload",
            **where,
            Metadata=_left(hashlib.sha256(data)),
            ChecksumAlgorithm="SHA256",
            **options,
        )
        where["UploadId"] = started["UploadId"]
        try:
            parts = []
            for number, start in enumerate(range(0, len(data), size), start=1):
                part = data[start : start + size]
                checksum = _on_the_way(hashlib.sha256(part))
                answer = self.call("upload_part", **where, PartNumber=number, Body=part, **checksum)
                parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksum})
            self.call("complete_multipart_upload", **where, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            self.drop_upload(**where)
            raise

    def drop_upload(self, **where: str) -> None:
        """Drop the parts of an upload (Bucket, Key and UploadId); one that is gone, or a dead server, is no error."""
        with suppress(S3Failure):  # `mascing storage gc` finds what is left
            self.at_once().call("abort_multipart_upload", **where)

    def _got(self, bucket: str, key: str) -> tuple[bytes, dict[str, Any]]:
        data, head = self._body(None, bucket, key)
        wanted = head.get("Metadata", {}).get("sha256")  # other programs' objects have none
        if wanted not in (None, hashlib.sha256(data).hexdigest()):
            raise ChecksumError(f"other bytes arrived than the {len(data)} that were stored")
        return data, head

    def _body(self, size: int | None, bucket: str, key: str, **part: str) -> tuple[bytes, dict[str, Any]]:
        """The bytes that arrive, and the head; ``size`` is how many there must be, None if the head says so."""
        head = self._within(self._policy.limit(0), self._s3._call_s3, "get_object", Bucket=bucket, Key=key, **part)
        body, size = head.pop("Body"), head["ContentLength"] if size is None else size
        try:
            data: bytes = self._within(self._policy.limit(size), body.read)
        except HttpError as error:
            raise ChecksumError(f"fewer bytes arrived than the {size} that were stored") from error
        finally:
            body.close()
        if len(data) != size:
            raise ChecksumError(f"{len(data)} bytes arrived where {size} were stored")
        return data, head

    def _within(self, seconds: float, call: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        async def limited() -> Any:
            return await asyncio.wait_for(call(*arguments, **named), seconds)

        return sync(self._s3.loop, limited)


def _refuse_unread(settings: str) -> None:
    """Refuse what fsspec only warns of and passes over: encryption may be among it. No value is repeated."""
    try:
        read = json.loads(settings)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise StorageError("FSSPEC_S3 is no JSON object, so none of its settings would hold: correct or unset it")


def code_of(error: BaseException) -> str:
    """The S3 error code behind an exception that s3fs translated; empty if the server did not answer."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        cause = cause.__cause__
    return ""


def _passes(error: Exception, code: str) -> bool:
    return code in _PASSING or isinstance(error, (ChecksumError, *_BROKEN_OFF, *UNANSWERED))


def _left(digest: "hashlib._Hash") -> dict[str, str]:
    """What stays with the object for its readers: the user metadata ``x-amz-meta-sha256``."""
    return {"sha256": digest.hexdigest()}


def _on_the_way(digest: "hashlib._Hash") -> dict[str, str]:
    """What the server checks before it stores anything."""
    return {"ChecksumSHA256": base64.b64encode(digest.digest()).decode()}
