"""What is in the image, and what is not."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

from loom_grpc import __version__
from tests.deploy.image import Image
from tests.deploy.pod import USER
from tests.program import ROOT

LOCK = (ROOT / "requirements" / "server.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def packages(image: Image) -> Path:
    """Where the environment's packages are."""
    (folder,) = image.root.glob("opt/loom/lib/python3.*/site-packages")
    return folder


def said_by(image: Image, *command: str) -> str:
    """Runs a command in the image's own file system and returns what it prints."""
    done = subprocess.run(  # noqa: S603
        ["chroot", f"--userspec={USER}:{USER}", image.root, *command],  # noqa: S607
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=image.environment,
    )
    return done.stdout


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_runs_as_nobody_and_writes_where_its_volume_is(image: Image) -> None:
    told = image.config
    state = image.root / "var/lib/loom-grpc"

    assert (told["User"], told["WorkingDir"], told["Entrypoint"]) == (str(USER), "/etc/loom-grpc", ["loom-grpc"])
    assert told["Healthcheck"]["Test"] == ["CMD", "loom-grpc", "health"]
    assert set(told["ExposedPorts"]) == {"50051/tcp", "8080/tcp"}
    assert list(told["Volumes"]) == [f"{image.environment['XDG_STATE_HOME']}/loom-grpc"]
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (USER, 0o700)


def test_it_has_the_program(image: Image) -> None:
    assert said_by(image, "loom-grpc", "--version").split()[-1] == __version__


def test_it_holds_the_locked_packages_without_what_installs_or_builds(packages: Path) -> None:
    locked = dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", LOCK, re.MULTILINE))
    held = {normal(found.metadata["Name"]): found.version for found in distributions(path=[str(packages)])}
    left_out = set(locked) - set(held)

    assert held == {name: version for name, version in locked.items() if name in held} | {"loom-grpc": __version__}
    assert {"hatchling", "pluggy", "trove-classifiers"} <= left_out
    assert not {"pip", "setuptools", "wheel", "packaging"} & set(held)
    assert sorted(file.name for file in (packages.parents[2] / "bin").glob("pip*")) == []


def test_nothing_has_to_be_compiled_later(image: Image, packages: Path) -> None:
    compiled = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]).cached)"
    for module in ("loom_grpc.cli", "grpc", "asyncio"):
        file = said_by(image, "/opt/loom/bin/python", "-c", compiled, module).strip()

        assert (image.root / file.lstrip("/")).is_file(), module
