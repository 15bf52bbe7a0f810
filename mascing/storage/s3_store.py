"""Objects in an S3 bucket, through s3fs, with the conditional writes that the commit protocol needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from mimetypes import guess_type
from typing import Any

import s3fs
from aiohttp import ClientError as HttpError
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from mascing.errors import StorageError
from mascing.storage.urls import BucketPrefix

_PROBE = ".mascing-probe"
_CONFIG = {"connect_timeout": 5, "read_timeout": 60, "retries": {"mode": "legacy", "total_max_attempts": 4}}
_ROUNDS = 5  # of s3fs's own retries around each of botocore's
_READ_TRIES = 5
_SINGLE_PUT_BYTES = 2**29  # s3fs starts a multipart upload at twice this
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_ABSENT = {"NoSuchKey", "404"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403"}


def connect() -> s3fs.S3FileSystem:
    """Return a client with the standard AWS settings and with timeouts, without contacting the server.

    The client is not shared: it has no cached listings, and no other code changes its settings.
    """
    client = s3fs.S3FileSystem(config_kwargs=_CONFIG, use_listings_cache=False, skip_instance_cache=True)
    client.retries = _ROUNDS
    return client


class S3Store:
    """An ObjectStore under a bucket's prefix. The bucket must exist."""

    def __init__(self, place: BucketPrefix, client: s3fs.S3FileSystem) -> None:
        self._place = place
        self._s3 = client

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._place.root}"

    def reach(self) -> None:
        """Prove that the bucket is there."""
        with self._at_once():
            self._check_bucket()

    def probe(self) -> None:
        """Prove that the bucket is there and writable, and that it refuses a second create and a stale swap.

        Some servers silently ignore ``If-None-Match`` or ``If-Match``; on those, two runs could overwrite each other.
        """
        with self._at_once():
            self._check_bucket()
            self.put_new(_PROBE, b"mascing\n")
            if self.put_new(_PROBE, b"again\n") or self.put_if(_PROBE, b"again\n", f'"{"0" * 32}"'):
                raise StorageError(
                    f"{self.url}: this S3 server ignores If-None-Match or If-Match, so writers could overwrite each "
                    "other: use one that honours conditional writes (AWS S3, SeaweedFS, MinIO, Ceph)"
                )

    def read(self, path: str) -> bytes:
        """Get the whole object in one request."""
        with self._explained(path):
            data: bytes = self._s3.cat_file(self._key(path), max_concurrency=1)
            return data

    def put(self, path: str, data: bytes) -> None:
        """Put, replacing."""
        with self._explained(path):
            self._s3.pipe_file(self._key(path), data, chunksize=_SINGLE_PUT_BYTES, **_content_type(path))

    def put_new(self, path: str, data: bytes) -> bool:
        """Put with ``If-None-Match: *``."""
        return self._put_on_condition(path, data, mode="create")

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """Return the object with its ETag, read before and after so that the two belong together."""
        for _ in range(_READ_TRIES):
            before = self._etag(path)
            data = self.read(path)
            if before == self._etag(path):
                return data, before
        raise StorageError(f"{self.url}/{path}: changes faster than it can be read: too many writers")

    def put_if(self, path: str, data: bytes, version: str | None) -> bool:
        """Put with ``If-Match: version``, or as new."""
        if version is None:
            return self.put_new(path, data)
        return self._put_on_condition(path, data, IfMatch=version)

    def modified(self, path: str) -> datetime:
        """Return the time in the object's head, which has whole seconds."""
        written: datetime = self._head(path)["LastModified"]
        return written.astimezone(UTC)

    def exists(self, path: str) -> bool:
        """Ask for the object's head."""
        try:
            self._head(path)
        except FileNotFoundError:
            return False
        return True

    def web_address(self, path: str) -> str:
        """The HTTP address of the object on its server, without a signature; asks nobody."""
        anonymous = s3fs.S3FileSystem(anon=True, use_listings_cache=False, skip_instance_cache=True)
        return str(anonymous.url(self._key(path)))

    def list(self, folder: str) -> list[str]:
        """List below the folder, skipping names with a part that starts with a dot."""
        start = self._key(folder) if folder else self._place.root
        with self._explained(folder):
            keys = self._s3.find(start)
        names = [key[len(self._place.root) + 1 :] for key in keys if key.startswith(f"{start}/")]
        return [name for name in names if not any(part.startswith(".") or not part for part in name.split("/"))]

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Let a wrong URL fail at the first try."""
        self._s3.retries = 1
        try:
            yield
        finally:
            self._s3.retries = _ROUNDS

    def _check_bucket(self) -> None:
        """Prove that the bucket exists by listing it; a put proves nothing, as some servers create a missing bucket."""
        with self._explained(""):
            self._s3.call_s3("list_objects_v2", Bucket=self._place.bucket, Prefix=self._place.prefix, MaxKeys=1)

    def _key(self, path: str) -> str:
        return f"{self._place.root}/{path}"

    def _etag(self, path: str) -> str:
        return str(self._head(path)["ETag"])

    def _head(self, path: str) -> dict[str, Any]:
        bucket, _, key = self._key(path).partition("/")
        with self._explained(path):
            head: dict[str, Any] = self._s3.call_s3("head_object", Bucket=bucket, Key=key)
            return head

    def _put_on_condition(self, path: str, data: bytes, **condition: Any) -> bool:
        with self._explained(path):
            try:
                options = {**_content_type(path), **condition}
                self._s3.pipe_file(self._key(path), data, chunksize=_SINGLE_PUT_BYTES, **options)
            except OSError as error:
                code = _code(error)
                if code in _TAKEN or ("IfMatch" in condition and code in _ABSENT):
                    return False
                raise
            return True

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn errors of s3fs into StorageErrors with advice; an absent key becomes FileNotFoundError.

        The message leaves out the server's text, which can repeat parts of the signed request.
        """
        place = f"{self.url}/{path}" if path else self.url
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StorageError(
                f"{place}: no complete S3 credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE"
            ) from error
        except (EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError) as error:
            raise StorageError(
                f"{place}: the S3 endpoint does not answer: check AWS_ENDPOINT_URL, the region and the network"
            ) from error
        except (BotoCoreError, HttpError) as error:
            raise StorageError(
                f"{place}: S3 failed ({type(error).__name__}): check AWS_ENDPOINT_URL, the region and the network"
            ) from error
        except OSError as error:
            raise self._explanation(place, error) from error
        except ValueError as error:  # botocore raises it if the endpoint is not a URL
            raise StorageError(f"{place}: the S3 settings are wrong: AWS_ENDPOINT_URL must be a URL") from error

    def _explanation(self, place: str, error: OSError) -> OSError | StorageError:
        code = _code(error)
        if code == "NoSuchBucket":
            return StorageError(f"{place}: there is no bucket {self._place.bucket!r}: create it, or correct the URL")
        if code in _ABSENT:
            return FileNotFoundError(place)
        if code in _REFUSED:
            return StorageError(
                f"{place}: S3 refused access ({code}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights "
                "to read, write and list this bucket"
            )
        if not code:
            return StorageError(f"{place}: the connection to S3 failed ({type(error).__name__}): check the network")
        return StorageError(f"{place}: S3 answered {code}: run again; finished stages are kept")


def _content_type(path: str) -> dict[str, str]:
    """The type of an object as its name tells it: a browser downloads a page without one."""
    guessed, _ = guess_type(path)
    return {"ContentType": guessed} if guessed else {}


def _code(error: BaseException) -> str:
    """The S3 error code behind an exception that s3fs translated; empty if the server did not answer."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        cause = cause.__cause__
    return ""
