"""The policy of the bucket gives a run what S3Store asks for and no more; another role removes garbage."""

import json
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import botocore.session
import pytest
from aiobotocore.client import AioBaseClient
from botocore.validate import ParamValidator

from mascing.runs.run_folder import RunFolder
from mascing.runs.upkeep.garbage import collect_garbage
from mascing.storage.object_storage import Storage
from mascing.storage.s3_client import S3Failure
from mascing.storage.s3_store import S3Store
from mascing.storage.urls import BucketPrefix, parse_url

if TYPE_CHECKING:
    from mascing.storage.s3_client import S3Client

FOLDER = Path(__file__).parents[2] / "infra/bucket"
STATEMENTS = {one["Sid"]: one for one in json.loads((FOLDER / "policy.json").read_text())["Statement"]}
# What AWS asks the right for, by the operation of its API (Service Authorization Reference, Amazon S3).
RIGHTS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
# For objects that are larger than one put should be; no test stores so much.
MULTIPART = {"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}


def given(role: str) -> set[str]:
    """The rights that the policy gives to a role."""
    mine = [one for one in STATEMENTS.values() if one["Effect"] == "Allow" and one["Principal"]["AWS"].endswith(role)]
    return {action for one in mine for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])}


def replaceable(path: str) -> bool:
    """Whether an object of this path may be replaced by a put without a condition."""
    left_out = STATEMENTS["NoStoredWorkIsReplaced"]["NotResource"]
    return any(fnmatchcase(f"arn:aws:s3:::mascing/{path}", pattern) for pattern in left_out)


@pytest.fixture
def store(s3_url: str, s3_client: "S3Client") -> S3Store:
    place = parse_url(f"{s3_url}/{uuid4().hex}")
    assert isinstance(place, BucketPrefix)
    return S3Store(place, s3_client)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The operations that any client asks a server for while a test runs."""
    operations: set[str] = set()
    make = AioBaseClient._make_api_call

    async def noted(client: Any, operation: str, arguments: Any) -> Any:
        operations.add(operation)
        return await make(client, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", noted)
    return operations


def use(store: S3Store) -> None:
    """What a run does with a store, with objects that are there and with ones that are not."""
    store.reach()
    store.probe()
    assert store.put_new("a", b"1")
    assert not store.put_new("a", b"2")
    store.put("a", b"3")
    data, version = store.read_versioned("a")
    assert store.put_if("a", data, version)
    assert store.exists("a") > store.exists("b")
    store.stat("a")
    assert "a" in [stored.name for stored in store.walk("")]
    with pytest.raises(FileNotFoundError):
        store.read("b")


def test_a_run_may_do_what_the_store_does_and_nothing_else(store: S3Store, asked: set[str]) -> None:
    use(store)
    assert {"ListObjectsV2", "GetObject", "HeadObject", "PutObject"} <= asked
    assert {RIGHTS[operation] for operation in asked | MULTIPART} == given("mascing-run")


def test_another_role_removes_and_writes_nothing_but_its_lease(
    store: S3Store, asked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("traces/0/a.parquet", b"1")
    written: list[str] = []
    put = AioBaseClient._make_api_call

    async def noted(client: Any, operation: str, arguments: Any) -> Any:
        if operation == "PutObject":
            written.append(arguments["Key"].removeprefix(f"{store.url.rpartition('/')[2]}/"))
        return await put(client, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", noted)
    asked.clear()
    collected = collect_garbage(Storage.open(store.url), timedelta(minutes=-1))
    assert [each.stored.name for each in collected.garbage] == ["traces/0/a.parquet"]
    assert {RIGHTS[operation] for operation in asked | {"AbortMultipartUpload"}} == given("mascing-gc")
    assert "s3:DeleteObject" not in given("mascing-run")
    allowed = STATEMENTS["GarbageIsRemovedByOne"]["Resource"]
    refused = [name for name in written if not any(fnmatchcase(f"arn:aws:s3:::mascing/{name}", one) for one in allowed)]
    assert set(written) == {".mascing-probe", "leases/gc.json"}
    assert refused == []
    assert "s3:PutObject" not in STATEMENTS["GarbageIsRemoved"]["Action"]


@pytest.mark.parametrize(
    ("path", "free"),
    [
        ("harvest/b-0123/manifest.json", False),
        ("traces/0123.parquet", False),
        ("registry/model/b/candidate.json", False),
        ("index.html", True),
        ("runs/b-model-0123/result.json", True),
    ],
)
def test_stored_work_is_replaced_by_no_put_without_a_condition(path: str, free: bool) -> None:
    statement = STATEMENTS["NoStoredWorkIsReplaced"]
    assert statement["Condition"]["Null"] == {"s3:if-none-match": "true", "s3:if-match": "true"}
    assert replaceable(path) is free


def test_what_a_run_replaces_is_left_out() -> None:
    folder = RunFolder("b-model-0123")
    left_out = [
        resource.removeprefix("arn:aws:s3:::mascing/")
        for resource in STATEMENTS["NoStoredWorkIsReplaced"]["NotResource"]
    ]
    for path in (folder.result, folder.page, folder.config, folder.inputs, folder.audit):
        assert any(fnmatchcase(path, pattern) for pattern in left_out)


def test_the_lifecycle_rule_ends_broken_uploads_and_expires_nothing() -> None:
    rules = json.loads((FOLDER / "lifecycle.json").read_text())
    request = botocore.session.get_session().get_service_model("s3")
    shape = request.operation_model("PutBucketLifecycleConfiguration").input_shape
    report = ParamValidator().validate({"Bucket": "mascing", "LifecycleConfiguration": rules}, shape)
    assert report.generate_report() == ""
    [rule] = rules["Rules"]
    assert set(rule) == {"ID", "Status", "Filter", "AbortIncompleteMultipartUpload"}
    assert rule["Filter"] == {"Prefix": ""}


def test_a_server_takes_both_and_refuses_what_is_not_encrypted(s3_client: "S3Client") -> None:
    bucket = uuid4().hex  # its policy refuses everything from here on, as the server of the tests speaks plain HTTP
    s3_client.call("create_bucket", Bucket=bucket)
    rules = json.loads((FOLDER / "lifecycle.json").read_text())
    s3_client.call("put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration=rules)
    policy = (FOLDER / "policy.json").read_text().replace("arn:aws:s3:::mascing", f"arn:aws:s3:::{bucket}")
    s3_client.call("put_bucket_policy", Bucket=bucket, Policy=policy)
    with pytest.raises(S3Failure, match=r"AccessDenied|403"):
        s3_client.call("put_object", Bucket=bucket, Key="runs/a", Body=b"1")
