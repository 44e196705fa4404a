"""Everything that is served has a row, and nothing else has."""

from __future__ import annotations

import io

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from starlette.routing import Route

from loom_grpc.access.method import METHODS, needs
from loom_grpc.config import AccessConfig, Config
from loom_grpc.core.principal import Need
from loom_grpc.shim.app import make_app
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1 import admin_service_pb2, llm_service_pb2
from tests.shim.serving import plays

SERVICES = {
    "LlmService": (llm_service_pb2, Need.USER),
    "AdminService": (admin_service_pb2, Need.ADMIN),
    "Health": (health_pb2, Need.NOTHING),
    "Channelz": (channelz_pb2, Need.ADMIN),
    "ServerReflection": (reflection_pb2, Need.USER),
}
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
REFLECTION_V1 = REFLECTION.replace("v1alpha", "v1")


def is_rpc(name: str) -> bool:
    return name.count("/") == 2 and "." in name.split("/")[1]


def paths() -> set[str]:
    config = Config()
    app = make_app(config, plays(), Telemetry(config, stream=io.BytesIO()), lambda: False)
    assert all(isinstance(route, Route) for route in app.routes)
    return {route.path for route in app.routes if isinstance(route, Route)}


def test_every_method_of_every_service_has_a_row_and_no_other_has() -> None:
    served: dict[str, Need] = {REFLECTION_V1: Need.USER}
    for name, (module, need) in SERVICES.items():
        service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
        served |= {f"/{service.full_name}/{method.name}": need for method in service.methods}

    assert {name: need for name, need in METHODS.items() if is_rpc(name)} == served


def test_every_path_has_a_row_and_no_other_has() -> None:
    served = paths()

    assert {name for name in METHODS if not is_rpc(name)} == {path for path in served if not is_rpc(path)}
    assert {path for path in served if is_rpc(path)} == {name for name in METHODS if "LlmService" in name}


def test_administration_by_http_is_for_admins_and_only_health_is_for_everybody() -> None:
    by_http = {name: need for name, need in METHODS.items() if not is_rpc(name)}

    admin = {name for name, need in by_http.items() if need is Need.ADMIN}
    assert admin == {name for name in by_http if name.startswith("/api/admin/")} | {"/metrics"}
    assert {name for name, need in by_http.items() if need is Need.NOTHING} == {"/health", "/livez", "/readyz"}


@pytest.mark.parametrize(
    ("config", "metrics", "reflection"),
    [
        (AccessConfig(), Need.NOTHING, Need.NOTHING),
        (AccessConfig(enabled=True), Need.ADMIN, Need.USER),
        (AccessConfig(enabled=True, metrics="user", reflection="admin"), Need.USER, Need.ADMIN),
        (AccessConfig(enabled=True, metrics="anybody", reflection="anybody"), Need.NOTHING, Need.NOTHING),
        (AccessConfig(metrics="admin", reflection="admin"), Need.NOTHING, Need.NOTHING),
    ],
)
def test_the_configuration_says_who_sees_metrics_and_reflection(
    config: AccessConfig, metrics: Need, reflection: Need
) -> None:
    special = {"/metrics": metrics, REFLECTION: reflection, REFLECTION_V1: reflection}
    if not config.is_on:
        special |= {name: Need.NOTHING for name in METHODS if name.startswith("/grpc.channelz.")}

    assert needs(config) == METHODS | special
