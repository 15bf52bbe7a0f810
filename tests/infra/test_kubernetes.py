"""The manifests of Kubernetes are valid, Ray reads the clusters in them, and they hold no secret."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr as read_by_ray

from mascing.config import load_config

FOLDER = Path(__file__).parents[2] / "infra/kubernetes"
KUBERNETES = "1.34"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def of_kind(name: str, kind: str) -> dict[str, Any]:
    [document] = [document for document in documents(name) if document["kind"] == kind]
    return document


CLUSTER = of_kind("raycluster.yaml", "RayCluster")
JOB = of_kind("rayjob.yaml", "RayJob")
ALL = [document for file in sorted(FOLDER.glob("*.yaml")) for document in documents(file.name)]


def groups(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The head group and the groups of workers."""
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and specification of every pod."""
    for document in ALL:
        name, spec = document["metadata"]["name"], document.get("spec", {})
        if document["kind"] == "Deployment":
            yield name, spec["template"]["spec"]
        elif document["kind"] in ("RayCluster", "RayJob"):
            for group in groups(spec.get("rayClusterSpec", spec)):
                yield f"{name}-{group.get('groupName', 'head')}", group["template"]["spec"]


PODS = list(pods())
every_pod = pytest.mark.parametrize("pod", [spec for _, spec in PODS], ids=[name for name, _ in PODS])


def validated(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "document",
    [document for document in ALL if not document["apiVersion"].startswith("ray.io/")],
    ids=lambda document: f"{document['kind']}-{document['metadata']['name']}",
)
def test_what_kubernetes_itself_knows_is_valid(document: dict[str, Any]) -> None:
    validated(document)


@every_pod
def test_every_pod_is_valid(pod: dict[str, Any]) -> None:
    validated({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod})


def test_an_unknown_field_is_seen() -> None:
    pod = copy.deepcopy(PODS[0][1])
    pod["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validated({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod})


@every_pod
def test_every_mount_has_its_volume(pod: dict[str, Any]) -> None:
    mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
    assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


@every_pod
def test_no_pod_runs_as_root_or_gains_rights(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 1000  # the user of the image
    assert [c["name"] for c in pod["containers"] if c["securityContext"]["allowPrivilegeEscalation"]] == []


@every_pod
def test_secrets_are_named_and_never_written(pod: dict[str, Any]) -> None:
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        written = [entry["name"] for entry in container.get("env", []) if "value" in entry]
        assert [name for name in written if any(word in name for word in ("TOKEN", "KEY", "SECRET", "PASSWORD"))] == []
        assert all(set(source) == {"secretRef"} for source in container.get("envFrom", []))


def test_a_run_and_the_cluster_that_stays_are_of_one_kind() -> None:
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]
    assert CLUSTER["spec"]["rayVersion"] == ray.__version__


def test_ray_scales_the_gpu_workers_and_places_nothing_on_the_head() -> None:
    nodes = read_by_ray(CLUSTER)["available_node_types"]
    assert nodes["headgroup"]["resources"]["CPU"] == 0
    workers = nodes["gpu-spot"]
    assert (workers["min_workers"], workers["max_workers"]) == (0, 8)
    assert workers["resources"]["GPU"] == 1


def test_a_worker_leaves_in_order_before_it_is_killed() -> None:
    [group] = CLUSTER["spec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    *_, grace = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert int(grace) < pod["terminationGracePeriodSeconds"]
    assert {toleration["key"] for toleration in pod["tolerations"]} >= {"nvidia.com/gpu", *pod["nodeSelector"]}


def test_the_run_of_the_job_fits_its_cluster(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(of_kind("rayjob.yaml", "ConfigMap")["data"]["run.yaml"])
    compute = load_config(str(tmp_path / "run.yaml")).compute
    workers = read_by_ray(CLUSTER)["available_node_types"]["gpu-spot"]
    room = min(
        workers["resources"]["GPU"] // compute.num_gpus,
        workers["resources"]["CPU"] // compute.num_cpus,
    )
    assert compute.workers <= workers["max_workers"] * room


def test_the_job_reads_the_run_that_the_head_mounts() -> None:
    head = CLUSTER["spec"]["headGroupSpec"]["template"]["spec"]
    [volume] = [volume for volume in head["volumes"] if "configMap" in volume]
    assert volume["configMap"]["name"] == of_kind("rayjob.yaml", "ConfigMap")["metadata"]["name"]
    [mount] = [mount for mount in head["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert f"{mount['mountPath']}/run.yaml" in JOB["spec"]["entrypoint"].split()


def test_the_prefect_worker_finds_the_cluster_and_its_token() -> None:
    [worker] = [pod for name, pod in PODS if name == "prefect-worker"]
    [container] = worker["containers"]
    assert f"{CLUSTER['metadata']['name']}-head-svc:6379" in container["args"][0]
    [token] = [entry for entry in container["env"] if entry["name"] == "RAY_AUTH_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": CLUSTER["metadata"]["name"], "key": "auth_token"}
