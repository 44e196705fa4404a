"""The image, built by the Dockerfile. No registry of images is asked: Debian with its own Python stands in for the official base."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.deploy.installed import DEPLOY
from tests.needed import needed
from tests.program import ROOT

_BASE: Final = DEPLOY / ".tools" / "base.tar"
_MISSING: Final = (
    "building the image needs root, buildah, and deploy/.tools/base.tar; `make check-deploy` sets them up on Debian"
)
_NAME: Final = "localhost/loom-grpc"
_BASE_NAME: Final = "localhost/base"
_OF_PIP: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""How pip reaches its index from this machine, and from within the build."""


@dataclass(frozen=True)
class Image:
    """An image: its file system, and what is to be run in it, by the names of Docker's image specification."""

    root: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(pair.split("=", 1) for pair in self.config["Env"])


@contextmanager
def built_image() -> Iterator[Image]:
    """Builds the image from this checkout; it is gone at the end."""
    found = shutil.which("buildah") if os.geteuid() == 0 and _BASE.exists() else None
    program = needed(found, _MISSING)
    with tempfile.TemporaryDirectory(prefix="loom-image-") as folder:
        places = ("--storage-driver", "vfs", "--root", f"{folder}/store", "--runroot", f"{folder}/run")

        def buildah(*arguments: str | Path) -> str:
            done = subprocess.run(  # noqa: S603
                [program, *places, *map(str, arguments)],
                check=False,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        _make_base(buildah)
        how = ("--isolation", "chroot", "--pull-never", "--format", "docker", "--quiet")
        buildah("build", *how, "--build-arg", f"BASE={_BASE_NAME}", "--tag", _NAME, ROOT)
        container = buildah("from", "--pull-never", _NAME)
        told = json.loads(buildah("inspect", "--type", "image", _NAME))
        yield Image(Path(buildah("mount", container)), told["Docker"]["config"])


def _make_base(buildah: Callable[..., str]) -> None:
    """Makes the image to build on; pip reaches its index from there as it does from here."""
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, _BASE, "/")
    for file in filter(os.path.exists, _OF_PIP):
        buildah("copy", "--quiet", container, file, file)
    buildah("run", "--isolation", "chroot", container, "ln", "--symbolic", "/usr/bin/python3", "/usr/local/bin/python")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, _BASE_NAME)
