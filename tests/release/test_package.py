"""What goes to the package index: the same bytes for everybody who builds it, with good metadata, and a client that needs nothing else."""

from __future__ import annotations

import email.parser
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

from loom_grpc import __version__
from tests.program import Server, run
from tests.release.checkout import copy_of

SOURCES = ("loom_grpc", "proto", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore")
WHEEL, SDIST = f"loom_grpc-{__version__}-py3-none-any.whl", f"loom_grpc-{__version__}.tar.gz"


def build(checkout: Path, into: Path, umask: int = 0o022) -> dict[str, bytes]:
    """Builds what `make wheel` builds and returns the files."""
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "hatchling", "build", "-d", str(into)],
        cwd=checkout,
        check=True,
        capture_output=True,
        umask=umask,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
    )
    return {file.name: file.read_bytes() for file in into.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(copy_of(folder / "checkout", *SOURCES), folder / "dist")
    return folder / "dist"


def test_two_builds_in_different_places_are_the_same_bytes(built: Path, tmp_path: Path) -> None:
    checkout = copy_of(tmp_path / "elsewhere", *SOURCES)
    for number, file in enumerate(sorted(checkout.rglob("*"))):
        os.utime(file, (number, number))
    again = build(checkout, tmp_path / "again", umask=0o077)

    assert sorted(again) == sorted([WHEEL, SDIST])
    assert {name for name in again if again[name] != (built / name).read_bytes()} == set()


def test_the_metadata_is_valid_and_the_same_in_both(built: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as wheel:
        of_wheel = wheel.read(f"loom_grpc-{__version__}.dist-info/METADATA")
    with tarfile.open(built / SDIST) as sdist:
        member = sdist.extractfile(f"loom_grpc-{__version__}/PKG-INFO")
        assert member is not None
        of_sdist = member.read()
    metadata = Metadata.from_email(of_wheel, validate=True)

    assert of_wheel == of_sdist
    assert (metadata.name, str(metadata.version)) == ("loom-grpc", __version__)
    assert (metadata.license_expression, metadata.license_files) == ("Apache-2.0", ["LICENSE"])
    assert (metadata.description_content_type, str(metadata.requires_python)) == ("text/markdown", ">=3.11")
    assert email.parser.BytesParser().parsebytes(of_wheel).defects == []


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as wheel:
        folders = {name.partition("/")[0] for name in wheel.namelist()}
        names = wheel.namelist()

    assert folders == {"loom_grpc", f"loom_grpc-{__version__}.dist-info"}
    assert "loom_grpc/py.typed" in names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


@pytest.fixture
def alone(built: Path, tmp_path: Path) -> Path:
    """The Python of an environment that has the wheel and what it requires, and nothing else."""
    folder = tmp_path / "alone"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, "--disable-pip-version-check", str(built / WHEEL)], check=True)  # noqa: S603
    site = next((folder / "lib").glob("python*")) / "site-packages"
    for distribution in required("grpcio", "googleapis-common-protos", "protobuf"):
        for file in distribution.files or ():
            if ".." not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), site / file)
    return python


def required(*names: str) -> list[importlib.metadata.Distribution]:
    """Returns distributions of these names, and all that they require in turn."""
    found = {name: importlib.metadata.distribution(name) for name in names}
    for distribution in list(found.values()):
        wanted = [Requirement(text) for text in distribution.requires or ()]
        names = tuple(one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""}))
        found |= {other.metadata["Name"]: other for other in required(*names)}
    return list(found.values())


def test_the_wheel_alone_requires_what_the_client_needs(built: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as wheel:
        metadata = Metadata.from_email(wheel.read(f"loom_grpc-{__version__}.dist-info/METADATA"))
    always = {one.name for one in metadata.requires_dist or () if one.marker is None}

    assert always == {"grpcio", "googleapis-common-protos", "protobuf"}


async def test_the_client_works_where_nothing_of_the_server_is_installed(
    alone: Path, live_server: Server, tmp_path: Path
) -> None:
    program = [str(alone), "-m", "loom_grpc.cli"]
    env = {"PYTHONPATH": ""}
    chatted = await run(
        "chat", "Hello", "-m", "mock-echo", "--target", live_server.grpc_address, command=program, cwd=tmp_path, env=env
    )
    served = await run("serve", command=program, cwd=tmp_path, env=env)
    listed = await run("-c", "import pydantic", command=[str(alone)], cwd=tmp_path, env=env)

    assert (chatted.code, chatted.out) == (0, "Hello\n")
    assert served.code == 1
    assert "loom-grpc[server]" in served.err
    assert "No module named 'pydantic'" in listed.err
