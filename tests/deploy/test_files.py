"""The Dockerfile, compose.yaml and what its containers are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from loom_grpc.config import Config
from tests.deploy.installed import DEPLOY, output_of
from tests.program import ROOT

COMPOSE = DEPLOY / "compose.yaml"
ENVIRONMENT = {
    "POSTGRES_PASSWORD": "one",
    "RABBITMQ_PASSWORD": "two",
    "REDIS_PASSWORD": "three",
    "LOOM_ADMIN_KEY": "four",
    "LOOM_ENCRYPTION_KEY": "five",
}
OURS = ("loom", "auditor")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Docker Compose makes of the file."""
    file = tmp_path_factory.mktemp("compose") / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items()))
    code, said = output_of("docker-compose", "--env-file", file, "-f", COMPOSE, "--profile", "telemetry", "config")
    assert code == 0, said
    found: dict[str, Any] = yaml.safe_load(said)
    return found


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, Any]:
    """Its services."""
    found: dict[str, Any] = project["services"]
    return found


def test_the_linter_finds_no_fault_with_the_image() -> None:
    assert output_of("hadolint", "--failure-threshold", "style", ROOT / "Dockerfile") == (0, "")


def test_every_secret_of_compose_has_to_be_given(tmp_path: Path) -> None:
    for name in ENVIRONMENT:
        file = tmp_path / name
        file.write_text("".join(f"{other}={value}\n" for other, value in ENVIRONMENT.items() if other != name))

        code, said = output_of("docker-compose", "--env-file", file, "-f", COMPOSE, "config", "--quiet")

        assert (code, f"{name} is missing a value: is missing in .env" in said) == (1, True), said


def test_our_containers_have_no_more_than_they_need(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]

        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_their_image_is_built_once(services: dict[str, Any]) -> None:
    """Two that build it at the same time end the first `up` with "image already exists" (github.com/desec-io/desec-stack/issues/1233)."""
    assert {services[name]["image"] for name in OURS} == {"loom-grpc"}
    assert [name for name, service in services.items() if "build" in service] == ["loom"]


def test_only_this_machine_reaches_them(services: dict[str, Any]) -> None:
    addresses = {port["host_ip"] for service in services.values() for port in service.get("ports", [])}

    assert addresses == {"127.0.0.1"}


def test_compose_waits_longer_than_the_server_drains(services: dict[str, Any]) -> None:
    config = Config.model_validate(yaml.safe_load((DEPLOY / "loom.yaml").read_text()))
    stop_s = int(services["loom"]["stop_grace_period"].removesuffix("s"))

    assert stop_s >= config.grpc.drain_grace_s + 15


def test_telemetry_is_only_for_those_who_ask_for_it(services: dict[str, Any]) -> None:
    extra = {name for name, service in services.items() if service.get("profiles") == ["telemetry"]}

    assert extra == {"collector", "jaeger", "prometheus", "grafana"}
    assert all(
        ":" in service["image"] and not service["image"].endswith(":latest")
        for service in services.values()
        if service["image"] != "loom-grpc"
    )


def test_every_file_that_compose_mounts_is_there(services: dict[str, Any]) -> None:
    sources = [
        Path(volume["source"])
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]

    assert sources
    assert [source for source in sources if not source.exists()] == []


def test_no_read_only_container_is_given_what_is_no_file(project: dict[str, Any]) -> None:
    """Compose mounts files; all else it copies into the container, and refuses to start one where it cannot
    (docker/compose 2.40, pkg/compose/secrets.go)."""
    given = {
        name: [project[kind][each["source"]] for kind in ("secrets", "configs") for each in service.get(kind, ())]
        for name, service in project["services"].items()
    }
    copied = {name for name, sources in given.items() if any("file" not in source for source in sources)}

    assert copied == {"prometheus"}
    assert not any(project["services"][name].get("read_only") for name in copied)


def test_the_collectors_pipelines_name_what_there_is() -> None:
    config = yaml.safe_load((DEPLOY / "otel" / "collector.yaml").read_text())
    pipelines = config["service"]["pipelines"]
    named = {
        kind: {name for pipeline in pipelines.values() for name in pipeline[kind]}
        for kind in ("receivers", "processors", "exporters")
    }

    assert named == {kind: set(config[kind]) for kind in named}
    assert set(pipelines) == {"traces", "metrics"}, "which servers send, both or none"
    assert all(pipeline["processors"][0] == "memory_limiter" for pipeline in pipelines.values())
