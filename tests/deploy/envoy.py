"""Envoy with the configuration of deploy/, before servers of the test's own."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import trustme
import yaml

from tests.deploy.installed import DEPLOY, tool, wait_until
from tests.ports import free_ports
from tests.program import WAIT_S, Server

ORIGIN: Final = "https://app.example.com"
CONFIG: Final = DEPLOY / "envoy" / "envoy.yaml"


@dataclass(frozen=True)
class Envoy:
    """A running Envoy."""

    port: int
    admin: str
    ca: bytes

    @property
    def target(self) -> str:
        """Where callers come in."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The same for HTTP."""
        return f"https://localhost:{self.port}"

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns what a gRPC caller trusts."""
        return grpc.ssl_channel_credentials(self.ca)

    def hosts(self, cluster: str) -> list[dict[str, Any]]:
        """Returns what Envoy knows of the servers of a cluster."""
        with urllib.request.urlopen(f"{self.admin}/clusters?format=json", timeout=WAIT_S) as answer:  # noqa: S310 - loopback
            statuses = json.load(answer)["cluster_statuses"]
        found: list[dict[str, Any]] = next(status["host_statuses"] for status in statuses if status["name"] == cluster)
        return found

    def ejections(self) -> int:
        """Returns how often Envoy has taken a server's place away for what it answered."""
        page = f"{self.admin}/stats?filter=ejections_enforced_total&format=json"
        with urllib.request.urlopen(page, timeout=WAIT_S) as answer:  # noqa: S310 - loopback
            return sum(stat["value"] for stat in json.load(answer)["stats"])


def configuration() -> Any:
    """Returns Envoy's configuration."""
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


def placed(folder: Path, servers: Sequence[Server], port: int, admin_port: int, ca: trustme.CA) -> Path:
    """Writes the configuration with other addresses and files, quicker looks at the servers, and a page that may call; nothing else
    is another."""
    issued = ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "tls.key")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    config = configuration()
    config["admin"]["address"]["socket_address"]["port_value"] = admin_port
    resources = config["static_resources"]
    listener = resources["listeners"][0]
    listener["address"] = _address("127.0.0.1", port)
    (host,) = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    host["typed_per_filter_config"]["envoy.filters.http.cors"]["allow_origin_string_match"] = [{"exact": ORIGIN}]
    for cluster in resources["clusters"]:
        addresses = [server.grpc_address if cluster["name"] == "grpc" else server.http_url for server in servers]
        ports = [int(address.rpartition(":")[2]) for address in addresses]
        cluster["type"] = "STATIC"
        cluster["load_assignment"]["endpoints"] = [
            {"lb_endpoints": [{"endpoint": {"address": _address("127.0.0.1", port)}} for port in ports]}
        ]
        (check,) = cluster["health_checks"]
        check |= {"interval": "0.2s", "no_traffic_interval": "0.2s"}
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(config).replace("/etc/envoy/tls", str(folder)))
    return file


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


@contextmanager
def envoy_before(servers: Sequence[Server], folder: Path) -> Iterator[Envoy]:
    """Runs Envoy before servers and waits until it has found them well."""
    port, admin_port = free_ports(2)
    ca = trustme.CA()
    file = placed(folder, servers, port, admin_port, ca)
    log = folder / "envoy.log"
    command = [tool("envoy"), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
    with subprocess.Popen([*command, "--log-path", str(log)], cwd=folder) as process:  # noqa: S603
        try:
            envoy = Envoy(port, f"http://127.0.0.1:{admin_port}", ca.cert_pem.bytes())
            wait_until(f"{envoy.admin}/ready", process, log)  # which it is once it has looked at every server
            yield envoy
        finally:
            process.terminate()
            process.wait(WAIT_S)
