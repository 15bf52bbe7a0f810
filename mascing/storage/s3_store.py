"""Objects in an S3 bucket, with the conditional writes that the commit protocol needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from functools import partial
from mimetypes import guess_type
from typing import Any

import s3fs
from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

from mascing.errors import DamagedError, StorageError
from mascing.storage.object_storage import Leftover, Stored
from mascing.storage.s3_client import UNANSWERED, ChecksumError, S3Client, S3Failure
from mascing.storage.urls import BucketPrefix

_PROBE = ".mascing-probe"
_PART_BYTES = 64 * 2**20
_SINGLE_PUT_BYTES = 256 * 2**20
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_ABSENT = {"NoSuchKey", "404"}
_TOO_SHORT = {"InvalidRange", "416"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403"}


class S3Store:
    """An ObjectStore under a bucket's prefix. The bucket must exist. Objects above ``single_put`` bytes go in parts."""

    def __init__(
        self, place: BucketPrefix, client: S3Client, single_put: int = _SINGLE_PUT_BYTES, part: int = _PART_BYTES
    ) -> None:
        self._place = place
        self._client = client
        self._single_put, self._part = single_put, part

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._place.root}"

    def reach(self) -> None:
        """Prove that the bucket is there."""
        S3Store(self._place, self._client.at_once())._check_bucket()

    def probe(self) -> None:
        """Prove that the bucket is there and writable, and that it refuses a second create and a stale swap.

        Some servers silently ignore ``If-None-Match`` or ``If-Match``; on those, two runs could overwrite each other.
        """
        hasty = S3Store(self._place, self._client.at_once())
        hasty._check_bucket()
        hasty.put_new(_PROBE, b"mascing\n")
        if hasty.put_new(_PROBE, b"again\n") or hasty.put_if(_PROBE, b"again\n", f'"{"0" * 32}"'):
            raise StorageError(
                f"{self.url}: this S3 server ignores If-None-Match or If-Match, so writers could overwrite each "
                "other: use one that honours conditional writes (AWS S3, SeaweedFS, MinIO, Ceph)"
            )

    def read(self, path: str) -> bytes:
        """Get the whole object in one request, and check it."""
        return self.read_versioned(path)[0]

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Get these bytes of the object in one request."""
        with self._explained(path):
            return self._client.get_range(self._place.bucket, self._key(path), start, stop)

    def put(self, path: str, data: bytes) -> None:
        """Put, replacing."""
        with self._explained(path):
            self._write(path, data)

    def put_new(self, path: str, data: bytes) -> bool:
        """Put with ``If-None-Match: *``."""
        return self._put_on_condition(path, data, IfNoneMatch="*")

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """Return the object with its ETag."""
        with self._explained(path):
            data, head = self._client.get(self._place.bucket, self._key(path))
            return data, str(head["ETag"])

    def put_if(self, path: str, data: bytes, version: str | None) -> bool:
        """Put with ``If-Match: version``, or as new."""
        if version is None:
            return self.put_new(path, data)
        return self._put_on_condition(path, data, IfMatch=version)

    def exists(self, path: str) -> bool:
        """Ask for the object's head."""
        try:
            self._head(path)
        except FileNotFoundError:
            return False
        return True

    def stat(self, path: str) -> Stored:
        """Ask for the object's head, whose time has whole seconds."""
        head = self._head(path)
        return Stored(path, head["ContentLength"], head["LastModified"].astimezone(UTC))

    def remove(self, path: str) -> None:
        """Delete the object; deleting it again is a success."""
        with self._explained(path):
            self._client.call("delete_object", Bucket=self._place.bucket, Key=self._key(path))

    def web_address(self, path: str) -> str:
        """The HTTP address of the object on its server, without a signature; asks nobody."""
        anonymous = s3fs.S3FileSystem(anon=True, use_listings_cache=False, skip_instance_cache=True)
        return str(anonymous.url(f"{self._place.root}/{path}"))

    def walk(self, folder: str) -> Iterator[Stored]:
        """Ask for page after page of a thousand objects."""
        start = self._key(f"{folder}/" if folder else "")
        more: dict[str, str] = {}
        with self._explained(folder):
            while True:
                page = self._client.call("list_objects_v2", Bucket=self._place.bucket, Prefix=start, **more)
                for entry in page.get("Contents", ()):
                    name = entry["Key"][len(self._key("")) :]
                    yield Stored(name, entry["Size"], entry["LastModified"].astimezone(UTC))
                if not page.get("IsTruncated"):
                    return
                more = {"ContinuationToken": page["NextContinuationToken"]}

    def sweep(self) -> None:
        """Nothing: an upload does not say whose it is, so `mascing storage gc` and lifecycle rules go by its age."""

    def leftovers(self) -> Iterator[Leftover]:
        """Uploads in parts that nobody joined; their sizes are not asked for."""
        bucket = self._place.bucket
        more: dict[str, str] = {}
        with self._explained(""):
            while True:
                page = self._client.call("list_multipart_uploads", Bucket=bucket, Prefix=self._key(""), **more)
                for upload in page.get("Uploads", ()):
                    where = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    what = Stored(upload["Key"][len(self._key("")) :], 0, upload["Initiated"].astimezone(UTC))
                    yield Leftover(what, "uncompleted upload", partial(self._client.drop_upload, **where))
                if not page.get("IsTruncated"):
                    return
                more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _check_bucket(self) -> None:
        """Prove that the bucket exists by listing it; a put proves nothing, as some servers create a missing bucket."""
        with self._explained(""):
            self._client.call("list_objects_v2", Bucket=self._place.bucket, Prefix=self._place.prefix, MaxKeys=1)

    def _key(self, path: str) -> str:
        return f"{self._place.prefix}/{path}" if self._place.prefix else path

    def _head(self, path: str) -> dict[str, Any]:
        with self._explained(path):
            return self._client.call("head_object", Bucket=self._place.bucket, Key=self._key(path))

    def _write(self, path: str, data: bytes, **condition: str) -> None:
        where = (self._place.bucket, self._key(path), data)
        options: dict[str, Any] = {**_content_type(path), **condition}
        if len(data) <= self._single_put:
            self._client.put(*where, **options)
        else:
            self._client.put_in_parts(*where, self._part, **options)

    def _put_on_condition(self, path: str, data: bytes, **condition: str) -> bool:
        with self._explained(path):
            try:
                self._write(path, data, **condition)
            except S3Failure as failure:
                again = failure.tries > 1
                if not (
                    failure.code in _TAKEN
                    or (failure.code in _ABSENT and "IfMatch" in condition)
                    or (failure.code == "NoSuchUpload" and again)
                ):
                    raise
                # If the answer to an earlier try was lost, the object in the way may be this very one.
                return again and self._holds(path, data)
            return True

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            return self.read(path) == data
        except FileNotFoundError:
            return False

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn failures into StorageErrors with advice; an absent key becomes FileNotFoundError.

        The message leaves out the server's text, which can repeat parts of the signed request.
        """
        place = f"{self.url}/{path}" if path else self.url
        try:
            yield
        except S3Failure as failure:
            raise self._explanation(place, failure) from failure

    def _explanation(self, place: str, failure: S3Failure) -> OSError | StorageError:
        code, cause = failure.code, failure.__cause__
        if code == "NoSuchBucket":
            return StorageError(f"{place}: there is no bucket {self._place.bucket!r}: create it, or correct the URL")
        if code in _ABSENT:
            return FileNotFoundError(place)
        if code in _REFUSED:
            return StorageError(
                f"{place}: S3 refused access ({code}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights "
                "to read, write and list this bucket"
            )
        if code in _TOO_SHORT:
            return DamagedError(f"checksum failed: {place} is cut off: delete it and run again")
        if code:
            return StorageError(f"{place}: S3 answered {code}{_often(failure)}: run again; finished stages are kept")
        if isinstance(cause, ChecksumError):
            again = "delete it and run again, if it stays so"
            return DamagedError(f"checksum failed: {place}: {cause}{_often(failure)}: {again}")
        return StorageError(_unanswered(place, cause, _often(failure)))


def _unanswered(place: str, cause: BaseException | None, often: str) -> str:
    """What went wrong where S3 gave no code."""
    if isinstance(cause, (NoCredentialsError, PartialCredentialsError)):
        return (
            f"{place}: no complete S3 credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE"
        )
    if isinstance(cause, UNANSWERED):
        return f"{place}: the S3 endpoint does not answer{often}: check AWS_ENDPOINT_URL, the region and the network"
    if isinstance(cause, ValueError):  # botocore raises it if the endpoint is not a URL
        return f"{place}: the S3 settings are wrong: AWS_ENDPOINT_URL must be a URL"
    named = type(cause).__name__
    if isinstance(cause, BotoCoreError):
        return f"{place}: S3 failed ({named}): check AWS_ENDPOINT_URL, the region and the network"
    return f"{place}: the connection to S3 failed ({named}){often}: check the network"


def _often(failure: S3Failure) -> str:
    return f" ({failure.tries} tries)" if failure.tries > 1 else ""


def _content_type(path: str) -> dict[str, str]:
    """The type of an object as its name tells it: a browser downloads a page without one."""
    guessed, _ = guess_type(path)
    return {"ContentType": guessed} if guessed else {}
