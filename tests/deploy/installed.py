"""The programs of deploy/.tools, and the manifests as kustomize writes them."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.needed import needed
from tests.program import ROOT, WAIT_S

DEPLOY: Final = ROOT / "deploy"
OVERLAYS: Final = ("small", "cluster")
_MISSING: Final = "deploy/.tools is missing; `make check-deploy` sets it up"

Manifest = dict[str, Any]


def tool(name: str) -> str:
    """Returns the path of a program of deploy/.tools, or skips the test that needs it."""
    places = (DEPLOY / ".tools" / "bin" / name, DEPLOY / ".tools" / "venv" / "bin" / name)
    return needed(next((str(place) for place in places if place.exists()), None), _MISSING)


def output_of(name: str, *arguments: str | Path, cwd: Path = DEPLOY) -> tuple[int, str]:
    """Runs a program of deploy/.tools to its end and returns its exit code and all that it wrote."""
    done = subprocess.run(  # noqa: S603
        [tool(name), *map(str, arguments)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        cwd=cwd,
    )
    return done.returncode, done.stdout


def wait_until(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when a program says at a URL that it is ready; fails with its log when it has ended."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=WAIT_S):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(log.read_text())


@cache
def rendered(overlay: str) -> str:
    """Returns what `kubectl apply -k` would send."""
    code, text = output_of("kustomize", "build", f"kubernetes/overlays/{overlay}")
    assert code == 0, text
    return text


def manifests(overlay: str) -> list[Manifest]:
    """Returns the objects of an overlay."""
    return [manifest for manifest in yaml.safe_load_all(rendered(overlay)) if manifest]


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    """Returns the objects of some kinds."""
    return [manifest for manifest in manifests(overlay) if manifest["kind"] in kinds]


def named(overlay: str, kind: str, name: str = "loom-grpc") -> Manifest:
    """Returns one object."""
    return next(manifest for manifest in of_kind(overlay, kind) if manifest["metadata"]["name"] == name)


def container_of(workload: Manifest) -> Manifest:
    """Returns the one container of a workload's pods."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    found: Manifest = container
    return found


def configuration_of(overlay: str) -> str:
    """Returns the server's configuration, as the ConfigMap has it."""
    text: str = named(overlay, "ConfigMap")["data"]["loom.yaml"]
    return text
