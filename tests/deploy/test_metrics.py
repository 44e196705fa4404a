"""Dashboards, alerts and the autoscaler: generated as they are, and about nothing but what a server really tells."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from loom_grpc.client import LlmError, LoomClient
from loom_grpc.telemetry import names
from loom_grpc.telemetry.names import METRICS, prometheus_label, prometheus_name
from tests.deploy.installed import DEPLOY, named, output_of
from tests.deploy.prometheus import PrometheusServer, prometheus
from tests.operated import ADMIN_KEY, Operated
from tests.program import ROOT, Server, served
from tests.server.serving import COMPLETION
from tests.stand_in import Connection, json_answer, stand_in

NAME = re.compile(r"\b(?:loom|gen_ai|process)_[a-z_]+")
LABELS = {prometheus_label(attribute) for metric in METRICS for attribute in metric.attributes}
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
ONLY_IN_TROUBLE = {prometheus_name(metric) for metric in (names.AUDITED, names.BLOCKS, names.SET_ASIDE)}
"""What the server of this test does not come to tell: the auditor does, and one that refuses this address or cannot send a record on."""
REFUSED = json_answer({"error": {"message": "Wrong key.", "code": "invalid_api_key"}}, status=401)
WELL = json_answer(COMPLETION)


async def two_keys(connection: Connection) -> None:
    """Answers as a provider that takes one key and not the other."""
    await (REFUSED if connection.asked.headers["authorization"].endswith("sk-bad") else WELL)(connection)


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "dashboards.py"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has answered, retried, refused and failed; its providers are gone by now."""
    with ExitStack() as stack:
        yield asyncio.run(used(tmp_path_factory.mktemp("server"), stack))


def configuration(folder: Path, provider_url: str) -> dict[str, Any]:
    accounts = [{"id": "one", "api_key": "sk-bad"}, {"id": "two", "api_key": "sk-good"}]
    return {
        "providers": {
            "mock": {"retry": {"base_delay_s": 0}},
            "mine": {
                "dialect": "openai",
                "base_url": provider_url,
                "accounts": accounts,
                "strategy": "first_available",
            },
        },
        "access": {"enabled": True},
        "admin": {"api_key": ADMIN_KEY},
        "database": {"url": f"sqlite:///{folder}/loom.db"},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
        "cache": {"enabled": True},
        "limits": {"models": {"mock/mock-length": {"requests_per_minute": 1}}},
        "models": {"mock/mock-echo": {"prices": {"input": 1, "output": 2}}},
        "spending": {"budgets": [{"scope": "user", "id": "ada", "usd": 0}]},
        "routes": {
            "two": {"targets": [{"model": "mock/mock-500"}, {"model": "mock/mock-echo"}]},
            "hedged": {"hedge_after_s": 0.05, "targets": [{"model": "mock/mock-silent"}, {"model": "mock/mock-echo"}]},
        },
    }


async def used(folder: Path, stack: ExitStack) -> Server:
    """Starts the server and makes calls of every kind."""
    async with stand_in(two_keys) as provider:
        (folder / "loom.yaml").write_text(json.dumps(configuration(folder, provider.url)))
        server = stack.enter_context(
            served("serve", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", cwd=folder)
        )
        operator = Operated(server.grpc_address, folder)
        await operator("users", "create", "ada")
        key = (await operator("keys", "create", "--user", "ada")).out.strip()
        async with LoomClient(server.grpc_address, api_key=ADMIN_KEY) as client:
            for model in ("mock/mock-echo", "mock/mock-429-once", "two", "hedged", "mine/any", "mock/mock-length"):
                await client.complete("Hello", model=model, temperature=0)
            async for _ in client.stream("Hello", model="mock/mock-words", max_tokens=5):
                pass
            await refused(client, "mock/mock-empty", "PROVIDER_BAD_RESPONSE")
            await refused(client, "mock/mock-length", "RATE_LIMITED")
        async with LoomClient(server.grpc_address, api_key=key) as client:
            await refused(client, "mock/mock-echo", "BUDGET_EXCEEDED")
    return server


async def refused(client: LoomClient, model: str, reason: str) -> None:
    with pytest.raises(LlmError) as failure:
        await client.complete("Hello again", model=model)
    assert failure.value.name == reason


@pytest.fixture(scope="module")
def scraped(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with prometheus(server, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


def expressions() -> dict[str, list[str]]:
    """Returns the queries of every file in deploy/ that has any."""
    boards = {
        file.name: [target["expr"] for panel in json.loads(file.read_text())["panels"] for target in panel["targets"]]
        for file in (DEPLOY / "grafana" / "dashboards").glob("*.json")
    }
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"]
    adapter = yaml.safe_load((DEPLOY / "kubernetes/components/autoscaling/prometheus-adapter.yaml").read_text())
    metrics = named("cluster", "HorizontalPodAutoscaler")["spec"]["metrics"]
    return boards | {
        "rules.yaml": [rule["expr"] for group in rules for rule in group["rules"]],
        "prometheus-adapter.yaml": [rule["seriesQuery"] for rule in adapter["rules"]["custom"]],
        "horizontalpodautoscaler.yaml": [metric["pods"]["metric"]["name"] for metric in metrics if "pods" in metric],
    }


def named_in(queries: list[str]) -> set[str]:
    return {name for query in queries for name in NAME.findall(query)} - LABELS


def families(metrics: set[str]) -> set[str]:
    """Returns the metrics that series belong to, whose names a histogram's have endings to."""
    known = {
        f"{prometheus_name(metric)}{end}": prometheus_name(metric) for metric in METRICS for end in ENDINGS[metric.kind]
    }
    return {known.get(name, name) for name in metrics}


def test_what_is_generated_is_in_step_with_the_tables(script: dict[str, Any]) -> None:
    generated = script["files"]()

    assert {name: (DEPLOY / name).read_text(encoding="utf-8") for name in generated} == generated
    assert {f"grafana/dashboards/{file.name}" for file in DEPLOY.glob("grafana/dashboards/*")} <= set(generated)


def test_every_metric_of_the_server_is_on_a_dashboard() -> None:
    boards = {name: queries for name, queries in expressions().items() if name.endswith(".json")}
    shown = families(set().union(*(named_in(queries) for queries in boards.values())))

    assert {prometheus_name(metric) for metric in METRICS} - shown == set()


async def test_nothing_is_asked_for_that_a_server_does_not_tell(scraped: PrometheusServer) -> None:
    told = await scraped.names()
    asked = {file: named_in(queries) for file, queries in expressions().items()}

    assert all(asked.values())
    assert {file: families(metrics) - families(told) - ONLY_IN_TROUBLE for file, metrics in asked.items()} == {
        file: set() for file in asked
    }
    assert ONLY_IN_TROUBLE & families(told) == set(), "they are told after all"


async def test_prometheus_can_answer_every_question(scraped: PrometheusServer) -> None:
    await scraped.names()
    queries = [
        query.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$instance", ".*")
        for file, found in expressions().items()
        if file.endswith(".json") or file == "rules.yaml"
        for query in found
    ]

    answers = {query: await scraped.ask(query) for query in queries}

    assert len(answers) > 30
    assert {query for query, answer in answers.items() if answer["status"] != "success"} == set()


async def test_what_the_autoscaler_follows_is_the_number_of_attempts_under_way(
    server: Server, scraped: PrometheusServer
) -> None:
    async with (
        LoomClient(server.grpc_address, api_key=ADMIN_KEY) as client,
        client.stream("Hello", model="mock/mock-slow") as first,
        client.stream("Hi", model="mock/mock-slow") as second,
    ):
        await anext(aiter(first))
        await anext(aiter(second))
        active = await scraped.until_told(f"sum({prometheus_name(names.ACTIVE)})", "2")

    assert active == "2"


def test_alerts_tell_when_they_should_and_only_then() -> None:
    code, said = output_of("promtool", "test", "rules", ROOT / "tests" / "deploy" / "alerts.test.yaml")

    assert (code, "SUCCESS" in said) == (0, True), said


def test_promtool_finds_no_fault_with_rules_and_configuration(tmp_path: Path) -> None:
    config = (DEPLOY / "prometheus" / "prometheus.yaml").read_text()
    (tmp_path / "prometheus.yaml").write_text(config.replace("/etc/prometheus", str(DEPLOY / "prometheus")))

    code, said = output_of("promtool", "check", "config", "--syntax-only", tmp_path / "prometheus.yaml")
    rules_code, rules_said = output_of(
        "promtool", "check", "rules", "--lint", "all", DEPLOY / "prometheus" / "rules.yaml"
    )

    assert (code, rules_code) == (0, 0), said + rules_said


def test_the_operator_gets_the_same_alerts() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())

    assert named("cluster", "PrometheusRule")["spec"] == rules


def test_every_alert_says_what_to_do(script: dict[str, Any]) -> None:
    alerts = script["ALERTS"]

    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert [alert.name for alert in alerts if f"`{alert.name}`" not in page] == []
    assert len({alert.name for alert in alerts}) == len(alerts)
    assert all(
        alert.description.endswith(".") and alert.severity in ("critical", "warning", "info") for alert in alerts
    )
