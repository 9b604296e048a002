"""The manifests are what KubeRay and `ray up` take, and agree with each other; no cluster is started here."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import validate_config

from sweep.run.time_limit import time_limit
from sweep.study import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINER = {"name", "image", "workingDir", "resources", "ports", "volumeMounts"}
POD = {"securityContext", "containers", "volumes", "tolerations"}
FIELDS: dict[str, set[str]] = {
    "": {
        "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
        "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata",
        "preRunningDeadlineSeconds", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode",
        "submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
    },
    "rayClusterSpec": {
        "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec",
        "headServiceAnnotations", "managedBy", "networkPolicy", "rayVersion", "suspend", "tlsOptions",
        "upgradeStrategy", "workerGroupSpecs",
    },
    "rayClusterSpec.authOptions": {"mode", "secretName", "enableK8sTokenAuth"},
    "rayClusterSpec.autoscalerOptions": {
        "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources", "securityContext",
        "upscalingMode", "version", "volumeMounts",
    },
    "rayClusterSpec.headGroupSpec": {
        "enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType", "template",
    },
    "rayClusterSpec.workerGroupSpecs": {
        "groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams",
        "replicas", "resources", "scaleStrategy", "suspend", "template",
    },
}  # fmt: skip
"""Of the spec of a RayJob, `ray.io/v1` of KubeRay 1.6: the names of each object, by its path."""


@pytest.fixture
def documents() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())
    return {document["kind"]: document for document in found}


@pytest.fixture
def spec(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    job = documents["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    found: dict[str, Any] = job["spec"]
    return found


@pytest.fixture
def cluster() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    return found


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    inside = spec["rayClusterSpec"]
    return [inside["headGroupSpec"], *inside["workerGroupSpecs"]]


def test_a_ray_job_has_the_fields_of_its_definition_alone(spec: dict[str, Any]) -> None:
    for path, names in FIELDS.items():
        found: Any = spec
        for part in filter(None, path.split(".")):
            found = found[part]
        for one in found if isinstance(found, list) else [found]:
            assert one.keys() <= names, path
    for group in groups(spec):
        pod = group["template"]["spec"]
        assert pod.keys() <= POD
        (container,) = pod["containers"]
        assert container.keys() <= CONTAINER and container["resources"].keys() == {"requests", "limits"}
        # Ray has each of its own start parameters as text.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_a_try_ends_by_itself_before_kubernetes_ends_it_for_good(spec: dict[str, Any]) -> None:
    limit = re.search(r"--time (\S+?)'", spec["entrypoint"])
    waits = re.search(r"--seconds (\d+)", spec["entrypoint"])
    assert limit and waits
    ends_at = time_limit(limit[1], 0.0).trainings_end_at + 60
    assert int(waits[1]) + ends_at < spec["activeDeadlineSeconds"]
    assert spec["backoffLimit"] > 1 and spec["shutdownAfterJobFinishes"]


def test_all_pods_share_the_results_and_the_image(spec: dict[str, Any], documents: dict[str, dict[str, Any]]) -> None:
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in groups(spec):
        pod = group["template"]["spec"]
        (volume,) = (one["name"] for one in pod["volumes"] if "persistentVolumeClaim" in one)
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert f"--results {mounts[volume]} " in spec["entrypoint"]
        assert mounts.keys() == {one["name"] for one in pod["volumes"]}
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups(spec)}) == 1


def test_the_study_gets_the_gpus_that_it_waits_for(spec: dict[str, Any]) -> None:
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    asked = re.search(r"--gpus (\d+)", spec["entrypoint"])
    study = re.search(r"run (\S+)", spec["entrypoint"])
    assert asked and study
    each = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(asked[1]) == workers["maxReplicas"] * int(each["nvidia.com/gpu"])
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    resources = load(ROOT / study[1]).study.resources
    assert resources.gpus and resources.cpus <= int(each["cpu"])


def test_the_head_trains_nothing_and_everything_wants_the_token(spec: dict[str, Any], cluster: dict[str, Any]) -> None:
    inside = spec["rayClusterSpec"]
    assert inside["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert inside["authOptions"] == {"mode": "token", "secretName": "slr-sweep-token"}
    assert "create secret generic slr-sweep-token --from-literal=auth_token" in (DEPLOY / "rayjob.yaml").read_text()
    starts = [one for kind in ("head", "worker") for one in cluster[f"{kind}_start_ray_commands"] if "ray start" in one]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token " in one for one in starts)
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert cluster["available_node_types"]["head"]["resources"] == {"CPU": 0} and "--num-cpus=0" in starts[0]


def test_ray_up_takes_the_cluster(cluster: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    # What `ray up` fills in, and asks of it beyond the schema.
    validate_config({**cluster, "cluster_synced_files": []})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "max_worker": 3}, schema)
    kinds = cluster["available_node_types"]
    assert "InstanceMarketOptions" not in kinds["head"]["node_config"], "the head stays"
    assert kinds["spot_gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert sum(kind.get("max_workers", 0) for kind in kinds.values()) == cluster["max_workers"]


def test_the_image_has_the_ray_that_the_manifest_names(spec: dict[str, Any]) -> None:
    pinned = re.search(r"ARG RAY=(\S+)", (DEPLOY / "Dockerfile").read_text())
    assert pinned and pinned[1] == spec["rayClusterSpec"]["rayVersion"] == ray.__version__
