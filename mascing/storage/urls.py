"""Parse storage URLs."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mascing.errors import StorageError

_WHAT_WORKS = "use a local folder (./mascing-data, /abs/folder, file:///abs/folder) or s3://bucket/prefix"


@dataclass(frozen=True)
class LocalFolder:
    """A folder on a local disk."""

    path: Path


@dataclass(frozen=True)
class BucketPrefix:
    """A prefix in an S3 bucket; ``prefix`` is empty or has no slash at either end."""

    bucket: str
    prefix: str

    @property
    def root(self) -> str:
        """``bucket/prefix``, or the bucket alone."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


def parse_url(url: str) -> LocalFolder | BucketPrefix:
    """Return the place that a storage URL names. Raises StorageError, without repeating credentials in the URL."""
    if not url.strip() or "\0" in url:
        raise StorageError(f"the storage URL is empty or holds a null character: {_WHAT_WORKS}")
    scheme = re.match(r"^([A-Za-z][A-Za-z0-9+.-]+):(//)?", url)
    if scheme is None:
        return LocalFolder(Path(url).expanduser().absolute())
    name, slashes = scheme.group(1).lower(), scheme.group(2)
    if name == "file":
        return _file_url(url)
    if name != "s3" or not slashes:
        raise StorageError(f"storage URL of unknown kind {scheme.group(0)!r}: {_WHAT_WORKS}")
    return _s3_url(url[len(scheme.group(0)) :])


def _file_url(url: str) -> LocalFolder:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise StorageError(f"{url!r} is not a local file URL: write file:///abs/folder, with three slashes")
    return LocalFolder(Path(unquote(parts.path)))


def _s3_url(rest: str) -> BucketPrefix:
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        raise StorageError(
            "the storage URL carries credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile) "
            "instead and write s3://bucket/prefix"
        )
    prefix = prefix.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        raise StorageError(f"'s3://{rest}' names no bucket: {_WHAT_WORKS}")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise StorageError(f"'s3://{rest}': the prefix has an empty, '.' or '..' part: {_WHAT_WORKS}")
    if any(character in prefix for character in "?#*[]\\"):
        raise StorageError(f"'s3://{rest}': the prefix holds one of ? # * [ ] \\: {_WHAT_WORKS}")
    return BucketPrefix(bucket, prefix)
