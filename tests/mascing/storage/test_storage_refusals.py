"""Storage that cannot be used, and what the user is told."""

from pathlib import Path

import pytest
from fsspec.config import conf

from mascing.errors import StorageError
from mascing.storage.object_storage import Storage
from mascing.storage.urls import parse_url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\0b", "null character"),
        ("gs://bucket/x", "unknown kind 'gs://': use a local folder"),
        ("http://host/x", "unknown kind 'http://'"),
        ("s3:/bucket/x", "unknown kind 's3:'"),
        ("s3:bucket", "unknown kind 's3:'"),
        ("file://host/x", "with three slashes"),
        ("file://./x", "with three slashes"),
        ("file:x", "with three slashes"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://a b/x", "names no bucket"),
        ("s3://bucket/a//b", "an empty, '.' or '..' part"),
        ("s3://bucket/../x", "an empty, '.' or '..' part"),
        ("s3://bucket/x?versionId=1", "holds one of ?"),
        ("s3://bucket/x*", "holds one of ?"),
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str, message: str) -> None:
    with pytest.raises(StorageError) as caught:
        Storage.open(url)
    assert message in str(caught.value)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID") as caught:
        Storage.open("s3://my-key:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)
    assert "my-key" not in str(caught.value)


def test_the_usual_ways_to_write_a_url_mean_the_same() -> None:
    assert parse_url("s3://bucket/a/b/") == parse_url("S3://bucket/a/b")
    assert parse_url("file:///tmp/x") == parse_url("/tmp/x") == parse_url("/tmp/x/")
    assert parse_url("x") == parse_url("./x")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("file", "a file is in the way: give a folder"),
        ("file/deeper", "a file is in the way: give a folder"),
        ("dangling", "a file is in the way: give a folder"),
        ("/proc/mascing", "cannot be made"),
        ("/dev/null", "a file is in the way"),
        ("x" * 300, "cannot be made (File name too long)"),
    ],
)
def test_a_local_path_that_cannot_be_a_folder_is_told(tmp_path: Path, folder: str, message: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError) as caught:
        Storage.open(str(tmp_path / folder))
    assert message in str(caught.value)


def test_a_folder_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.link", forbid)  # permissions do not bind root, whom containers run tests as
    with pytest.raises(StorageError, match="Permission denied: give yourself write permission"):
        Storage.open(str(tmp_path))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.open(str(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="free some disk space and run again; finished stages are kept"):
        storage.create("a", b"x")
    monkeypatch.undo()
    assert storage.list() == []
    assert [path.name for path in tmp_path.iterdir()] == [".mascing-probe"]


def test_a_missing_bucket_is_told(s3_url: str) -> None:
    with pytest.raises(StorageError, match="there is no bucket 'no-such-bucket': create it, or correct the URL"):
        Storage.open("s3://no-such-bucket/x")
    with pytest.raises(StorageError, match="there is no bucket 'no-such-bucket': create it, or correct the URL"):
        Storage.open_to_read("s3://no-such-bucket/x")


@pytest.mark.parametrize(("setting", "code"), [("SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
                                               ("ACCESS_KEY_ID", "InvalidAccessKeyId")])  # fmt: skip
def test_wrong_credentials_are_told_and_not_repeated(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, setting: str, code: str
) -> None:
    monkeypatch.setenv(f"AWS_{setting}", "hunter2")
    with pytest.raises(StorageError, match=rf"S3 refused access \({code}\): check AWS_ACCESS_KEY_ID") as caught:
        Storage.open(f"{s3_url}/x")
    assert "hunter2" not in str(caught.value)


def test_missing_credentials_are_told(s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match="no complete S3 credentials found: set AWS_ACCESS_KEY_ID"):
        Storage.open(f"{s3_url}/x")


@pytest.mark.parametrize("text", ['{"secret": "hunter2", ', '"hunter2"', "[]"])
def test_settings_of_s3_that_cannot_be_read_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """They may ask for encryption, and fsspec would go on without."""
    monkeypatch.setenv("FSSPEC_S3", text)
    with pytest.raises(StorageError, match="FSSPEC_S3 is no JSON object") as caught:
        Storage.open("s3://bucket/x")
    assert "hunter2" not in str(caught.value)


def test_settings_that_the_s3_client_does_not_have_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conf, "s3", {"nonsense": "hunter2"})
    with pytest.raises(StorageError, match="FSSPEC_S3: the S3 client has no setting nonsense") as caught:
        Storage.open("s3://bucket/x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [("http://127.0.0.1:9", "the S3 endpoint does not answer: check AWS_ENDPOINT_URL"),
     ("nonsense", "AWS_ENDPOINT_URL must be a URL")],
)  # fmt: skip
def test_a_wrong_endpoint_is_told(s3_url: str, monkeypatch: pytest.MonkeyPatch, endpoint: str, message: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StorageError, match=message):
        Storage.open(f"{s3_url}/x")


def test_an_unknown_profile_is_told(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(StorageError, match="ProfileNotFound"):
        Storage.open(f"{s3_url}/x")
