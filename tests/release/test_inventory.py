"""What is inside a release: licences, bills of materials, and known weaknesses."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from loom_grpc import __version__
from tests.ports import free_ports
from tests.program import ROOT, Result, run
from tests.release.checkout import copy_of

SOURCES = (
    "scripts",
    "requirements",
    "docs/licenses.md",
    "loom_grpc/__init__.py",
    "clients/*/*lock*",
    "clients/*/go.mod",
    "clients/*/pom.xml",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_of(tmp_path / "checkout", *SOURCES)


async def script(checkout: Path, name: str, *arguments: str, **env: str) -> Result:
    """Runs one of the scripts."""
    return await run(f"scripts/{name}", *arguments, command=[sys.executable], cwd=checkout, env=env)


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


async def test_every_licence_is_known_and_allowed(checkout: Path) -> None:
    assert await script(checkout, "licenses.py", "check") == Result(0, "", "")


@pytest.mark.parametrize(
    ("lock", "before", "after", "part"),
    [
        ("requirements/server.lock", "uvicorn==", "uvicorn==9", "Python"),
        ("clients/go/go.mod", "google.golang.org/protobuf v1", "google.golang.org/protobuf v9", "clients/go"),
        ("clients/java/pom.xml", "<artifactId>grpc-stub<", "<artifactId>grpc-census<", "clients/java"),
        ("clients/rust/Cargo.lock", 'name = "tonic"\n', 'name = "tonic-of-others"\n', "clients/rust"),
        (
            "clients/typescript/package-lock.json",
            '"node_modules/@bufbuild/protobuf"',
            '"node_modules/protobuf"',
            "clients/typescript",
        ),
    ],
)
async def test_a_page_that_a_lock_has_left_behind_is_refused(
    checkout: Path, lock: str, before: str, after: str, part: str
) -> None:
    change(checkout / lock, before, after)

    result = await script(checkout, "licenses.py", "check")

    words = f"loom-grpc: docs/licenses.md is out of step with what {part} brings along: run make licenses.\n"
    assert result == Result(1, "", words)


def add_client(checkout: Path, *packages: str) -> Path:
    """Adds a client in one more language, which tells itself what it brings along."""
    folder = checkout / "clients/ruby"
    folder.mkdir()
    (folder / "conformance").touch()
    if packages:
        (folder / "packages").write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.join(packages)}\n")
        (folder / "packages").chmod(0o755)
    return folder


async def test_a_client_with_another_kind_of_lock_tells_itself_what_it_brings_along(checkout: Path) -> None:
    add_client(checkout, "pkg:gem/grpc@1.80.0 Apache-2.0", "pkg:gem/bigdecimal@3.1.9 Ruby OR BSD-2-Clause")
    before = await script(checkout, "licenses.py", "check")
    with (checkout / "docs/licenses.md").open("a") as page:
        page.write("\n## clients/ruby\n\n| package | version | licence |\n|---|---|---|\n")
        page.write("| pkg:gem/grpc | 1.80.0 | Apache-2.0 |\n| pkg:gem/bigdecimal | 3.1.9 | Ruby OR BSD-2-Clause |\n")

    after = await script(checkout, "licenses.py", "check")
    bill = await script(checkout, "sbom.py", "bills", SOURCE_DATE_EPOCH="1700000000")

    out_of_step = "loom-grpc: docs/licenses.md is out of step with what clients/ruby brings along: run make licenses.\n"
    forbidden = "clients/ruby: pkg:gem/bigdecimal 3.1.9 is under Ruby OR BSD-2-Clause; is that allowed?"
    assert before == Result(1, "", out_of_step)
    assert after == Result(1, "", f"loom-grpc: {forbidden} See scripts/licenses.py.\n")
    assert bill == Result(0, "", "")
    told = json.loads((checkout / f"bills/loom-grpc-client-ruby-{__version__}.cdx.json").read_text())
    assert [(component["name"], component["purl"]) for component in told["components"]] == [
        ("grpc", "pkg:gem/grpc@1.80.0"),
        ("bigdecimal", "pkg:gem/bigdecimal@3.1.9"),
    ]


async def test_a_client_that_tells_nothing_of_what_it_brings_along_is_refused(checkout: Path) -> None:
    add_client(checkout)

    words = "loom-grpc: clients/ruby tells nothing of what it brings along: see docs/release.md.\n"
    assert await script(checkout, "licenses.py", "check") == Result(1, "", words)


@pytest.mark.parametrize("license", ["AGPL-3.0-only", "MIT AND AGPL-3.0-only", "unknown"])
async def test_a_licence_that_nobody_allowed_is_refused(checkout: Path, license: str) -> None:
    with (checkout / "docs/licenses.md").open("a") as page:
        page.write(f"\n## clients/new\n\n| package | version | licence |\n|---|---|---|\n| other | 1.0 | {license} |\n")

    result = await script(checkout, "licenses.py", "check")

    assert result == Result(
        1, "", f"loom-grpc: clients/new: other 1.0 is under {license}; is that allowed? See scripts/licenses.py.\n"
    )


async def test_a_bill_of_materials_names_every_package_and_is_the_same_each_time(checkout: Path) -> None:
    for folder in ("one", "two"):
        done = await script(checkout, "sbom.py", folder, SOURCE_DATE_EPOCH="1700000000")
        assert (done.code, done.err) == (0, "")
    one, two = ({file.name: file.read_text() for file in (checkout / folder).iterdir()} for folder in ("one", "two"))
    bills = {name.removesuffix(f"-{__version__}.cdx.json"): json.loads(text) for name, text in one.items()}
    server = {component["name"]: component for component in bills["loom-grpc"]["components"]}

    assert one == two
    assert set(bills) >= {"loom-grpc", *(f"loom-grpc-client-{name}" for name in ("go", "java", "rust", "typescript"))}
    assert {(bill["bomFormat"], bill["specVersion"], bill["metadata"]["timestamp"]) for bill in bills.values()} == {
        ("CycloneDX", "1.6", "2023-11-14T22:13:20+00:00")
    }
    assert server["grpcio"]["purl"] == f"pkg:pypi/grpcio@{server['grpcio']['version']}"
    assert {component["purl"].partition("@")[0] for bill in bills.values() for component in bill["components"]} >= {
        "pkg:cargo/tonic",
        "pkg:golang/google.golang.org/grpc",
        "pkg:maven/io.grpc/grpc-stub",
        "pkg:npm/%40bufbuild/protobuf",
        "pkg:pypi/grpcio",
    }


@asynccontextmanager
async def advisories(answer: Any) -> AsyncIterator[str]:
    """Stands in for the service of advisories; `answer` makes its JSON out of what is asked."""

    async def answered(request: web.Request) -> web.Response:
        return web.json_response(answer([query["package"]["purl"] for query in (await request.json())["queries"]]))

    app = web.Application()
    app.add_routes([web.post("/v1/querybatch", answered)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/v1/querybatch"
    finally:
        await runner.cleanup()


async def test_an_audit_without_findings_says_so() -> None:
    async with advisories(lambda purls: {"results": [{} for _ in purls]}) as url:
        result = await script(ROOT, "audit.py", "--service", url)

    assert (result.code, result.err) == (0, "")
    assert result.out.endswith(" packages, 0 of them with known weaknesses\n")


async def test_an_audit_names_the_packages_with_known_weaknesses() -> None:
    def weak(purls: list[str]) -> Any:
        return {
            "results": [
                {"vulns": [{"id": "GHSA-1"}, {"id": "CVE-2"}]} if purl.startswith("pkg:pypi/grpcio@") else {}
                for purl in purls
            ]
        }

    async with advisories(weak) as url:
        result = await script(ROOT, "audit.py", "--service", url)

    assert (result.code, result.err) == (1, "")
    assert result.out.partition("@")[0] == "pkg:pypi/grpcio"
    assert ": GHSA-1, CVE-2\n" in result.out


async def test_an_audit_that_could_not_be_made_is_no_good_news() -> None:
    async with advisories(lambda _purls: {"message": "no"}) as url:
        odd = await script(ROOT, "audit.py", "--service", url)
    nobody = await script(ROOT, "audit.py", "--service", f"http://127.0.0.1:{free_ports(1)[0]}/v1/querybatch")

    assert [(result.code, result.out, " are NOT audited: " in result.err) for result in (odd, nobody)] == [
        (3, "", True)
    ] * 2
