"""The manifests: as Kubernetes takes them, and as this server needs them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from loom_grpc import __version__
from loom_grpc.config import Config
from tests.deploy.installed import (
    DEPLOY,
    OVERLAYS,
    Manifest,
    configuration_of,
    container_of,
    manifests,
    named,
    of_kind,
    output_of,
    rendered,
)
from tests.program import ROOT

OLDEST, NEWEST = "1.30.0", "1.37.0"
"""The versions of Kubernetes that the manifests are for; the sleep of preStop is older than none of them."""
PLACES = {
    "/etc/loom-grpc": "config",
    "/run/secrets/loom-grpc": "secrets",
}


def config_of(overlay: str) -> Config:
    return Config.model_validate(yaml.safe_load(configuration_of(overlay)))


def workloads(overlay: str) -> list[Manifest]:
    return of_kind(overlay, "StatefulSet", "Deployment")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_what_kubernetes_takes_to_the_last_key(overlay: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    own = [manifest for manifest in manifests(overlay) if "monitoring.coreos.com" not in manifest["apiVersion"]]
    file.write_text(yaml.safe_dump_all(own))

    code, said = output_of("kubernetes-validate", "--strict", "-k", version, file)

    assert (code, said.count(" passed for resource ")) == (0, len(own)), said


def test_the_prometheus_operator_understands_its_objects_whole(tmp_path: Path) -> None:
    file = tmp_path / "operator.yaml"
    own = of_kind("cluster", "ServiceMonitor", "PrometheusRule")
    file.write_text(yaml.safe_dump_all(own))

    code, said = output_of("python", Path(__file__).with_name("operator_types.py"), file)

    assert (code, said.count("understood ")) == (0, len(own)), said


def test_a_wrong_key_does_not_pass(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(rendered("small").replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))

    code, said = output_of("kubernetes-validate", "--strict", "-k", NEWEST, file)

    assert code == 1
    assert "readOnlyRootFileSystem" in said


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_lies_in_one_namespace(overlay: str) -> None:
    assert {manifest["metadata"]["namespace"] for manifest in manifests(overlay)} == {"loom-grpc"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_finds_the_pods_it_is_for(overlay: str) -> None:
    pods = {
        workload["metadata"]["name"]: workload["spec"]["template"]["metadata"]["labels"]
        for workload in workloads(overlay)
    }
    found = {
        (manifest["kind"], manifest["metadata"]["name"]): [
            name for name, labels in pods.items() if labels.items() >= _selector(manifest).items()
        ]
        for manifest in of_kind(overlay, "StatefulSet", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
    }

    assert found == {(kind, name): ["loom-grpc-auditor" if "auditor" in name else "loom-grpc"] for kind, name in found}


def _selector(manifest: Manifest) -> dict[str, str]:
    spec = manifest["spec"]
    selector: dict[str, Any] = spec["podSelector"] if "podSelector" in spec else spec["selector"]
    labels: dict[str, str] = selector.get("matchLabels", selector)
    return labels


def test_the_service_monitors_find_one_service_each_with_their_port() -> None:
    services = of_kind("cluster", "Service")
    found = {
        monitor["metadata"]["name"]: [
            (service["metadata"]["name"], monitor["spec"]["endpoints"][0]["port"])
            for service in services
            if service["metadata"]["labels"].items() >= _selector(monitor).items()
            and monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
        ]
        for monitor in of_kind("cluster", "ServiceMonitor")
    }

    assert found == {
        "loom-grpc": [("loom-grpc", "http")],
        "loom-grpc-auditor": [("loom-grpc-auditor", "metrics")],
    }


def test_a_server_that_drains_for_minutes_is_not_taken_for_one_that_is_down() -> None:
    (endpoint,) = named("cluster", "ServiceMonitor")["spec"]["endpoints"]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"][0]["rules"]
    (down,) = (rule for rule in rules if rule["alert"] == "LoomGrpcDown")

    assert config_of("cluster").grpc.drain_grace_s > 120
    assert down["for"] == "2m"
    assert endpoint["relabelings"] == [
        {
            "sourceLabels": ["__meta_kubernetes_endpointslice_endpoint_conditions_terminating"],
            "regex": "true",
            "action": "drop",
        }
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_are_those_the_server_listens_on(overlay: str) -> None:
    server = named(overlay, "StatefulSet")
    ports = {port["name"]: port["containerPort"] for port in container_of(server)["ports"]}
    config = config_of(overlay)

    assert (config.grpc.address, config.http.address) == (f"0.0.0.0:{ports['grpc']}", f"0.0.0.0:{ports['http']}")
    assert {probe["grpc"]["port"] for probe in _probes(server)} == {ports["grpc"]}


def _probes(workload: Manifest) -> list[Manifest]:
    container = container_of(workload)
    return [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_is_given_longer_than_its_longest_call(overlay: str) -> None:
    pod = named(overlay, "StatefulSet")["spec"]["template"]["spec"]
    config = config_of(overlay)
    sleeps_s = container_of(named(overlay, "StatefulSet"))["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container_of(named(overlay, "StatefulSet"))["readinessProbe"]
    mock = Config.model_validate({"providers": {"mock": {}}}).providers["mock"]

    longest_s = max(provider.timeouts.total_s for provider in [mock, *config.providers.values()])
    assert config.grpc.drain_grace_s >= longest_s
    assert pod["terminationGracePeriodSeconds"] >= sleeps_s + config.grpc.drain_grace_s + 30
    assert sleeps_s >= readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_container_has_more_than_it_needs(overlay: str) -> None:
    for workload in workloads(overlay):
        pod, container = workload["spec"]["template"]["spec"], container_of(workload)

        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert (
            pod["securityContext"].items()
            >= {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            }.items()
        )
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert {"cpu", "memory"} == set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_files_and_never_variables(overlay: str) -> None:
    for workload in workloads(overlay):
        container = container_of(workload)
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}

        assert "env" not in container
        assert "envFrom" not in container
        assert {path: mounts[path]["name"] for path in PLACES} == PLACES
        assert not any("subPath" in mount for mount in mounts.values()), "the server would not see them change"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_spool_is_on_a_volume_that_outlives_the_pod(overlay: str) -> None:
    server = named(overlay, "StatefulSet")
    (claim,) = server["spec"]["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(server)["volumeMounts"]}
    config = config_of(overlay)

    assert config.audit.spool_dir is not None
    assert config.audit.spool_dir.is_relative_to(mounts[claim["metadata"]["name"]])
    assert claim["spec"]["resources"]["requests"]["storage"] == "4Gi"
    assert config.audit.spool_max_bytes * config.workers < 4 * 2**30
    assert server["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_the_number_of_servers_is_nobodys_but_the_autoscalers() -> None:
    scaler = named("cluster", "HorizontalPodAutoscaler")

    assert "replicas" not in named("cluster", "StatefulSet")["spec"]
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "loom-grpc"}


def test_servers_that_share_no_file_share_everything_else() -> None:
    config = config_of("cluster")

    assert config.database.url is not None
    assert config.limits.redis_url is not None
    assert config.audit.bus is not None
    assert config.grpc.max_connection_age_s is not None, "or callers would never see new servers"
    assert config.grpc.max_connection_age_grace_s is None, "or a long stream would be cut"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_have_the_version_of_the_project(overlay: str) -> None:
    assert {container_of(workload)["image"] for workload in workloads(overlay)} == {f"loom-grpc:{__version__}"}


def test_the_overlay_of_the_page_brings_another_image_and_another_configuration(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (overlay,) = (block for block in re.findall(r"```yaml\n(.+?)```", page, re.DOTALL) if "configMapGenerator" in block)
    small = os.path.relpath((DEPLOY / "kubernetes" / "overlays" / "small"), tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(
        overlay.replace("../loom-grpc/deploy/kubernetes/overlays/small", small)
    )
    (tmp_path / "loom.yaml").write_text("access: {enabled: true}\n")

    code, text = output_of("kustomize", "build", tmp_path)
    found = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}

    assert code == 0, text
    assert container_of(found["StatefulSet"])["image"] == f"registry.example.com/loom-grpc:{__version__}"
    assert found["ConfigMap"]["data"] == {"loom.yaml": "access: {enabled: true}\n"}
    assert found["ConfigMap"]["metadata"]["name"] == "loom-grpc", "as the pod's volume has it"


def test_every_folder_of_manifests_is_used() -> None:
    folders = {file.parent.relative_to(DEPLOY / "kubernetes") for file in DEPLOY.glob("kubernetes/**/*.yaml")}

    assert {str(folder) for folder in folders} == {
        "base",
        "components/autoscaling",
        "components/image",
        "components/monitoring",
        "overlays/cluster",
        "overlays/small",
    }
