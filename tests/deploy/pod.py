"""A pod as a kubelet would run it: the image, the manifest's volumes, and a root file system that nobody can write to."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from cryptography.fernet import Fernet

from tests.deploy.image import Image
from tests.deploy.installed import configuration_of, container_of, named
from tests.needed import needed
from tests.operated import ADMIN_KEY
from tests.program import WAIT_S, Server

USER: Final = 10001
LOOPBACK: Final = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
_STRANGER: Final = f"--reuid={USER} --regid={USER} --clear-groups --no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all"


@dataclass(frozen=True)
class Volumes:
    """What is mounted into a pod."""

    config: Path
    secrets: Path
    state: Path
    tmp: Path

    @staticmethod
    def made(folder: Path, overlay: str, **secrets: str) -> Volumes:
        """Fills the volumes for an overlay, with secrets besides the two that all have; the server's own are empty."""
        volumes = Volumes(*(folder / name for name in ("config", "secrets", "state", "tmp")))
        for path in (volumes.config, volumes.secrets, volumes.state, volumes.tmp):
            path.mkdir()
        (volumes.config / "loom.yaml").write_text(configuration_of(overlay))
        secrets |= {"admin_key": ADMIN_KEY, "encryption_key": Fernet.generate_key().decode()}
        for name, text in secrets.items():
            (volumes.secrets / name.replace("_", "-")).write_text(text)
        for path in (volumes.state, volumes.tmp):
            os.chown(path, USER, USER)
        return volumes


@contextmanager
def pod(image: Image, volumes: Volumes, overlay: str) -> Iterator[Server]:
    """Runs the server's container and waits until it serves; it listens at free ports of the loopback address instead of its own."""
    container = container_of(named(overlay, "StatefulSet"))
    with _container(image, volumes, container, *container["args"], *LOOPBACK) as (process, log):
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] and " chat " not in lines[-1]:
            lines.append(process.stdout.readline())
        assert lines[-1], log_of(log)
        yield Server(process, "".join(lines), log)


@contextmanager
def auditor_pod(image: Image, volumes: Volumes, overlay: str) -> Iterator[None]:
    """Runs the auditor's container, and wants it to end well; its metrics are at a free port of the loopback address."""
    container = container_of(named(overlay, "Deployment", "loom-grpc-auditor"))
    arguments = ["127.0.0.1:0" if argument == "0.0.0.0:9464" else argument for argument in container["args"]]
    with _container(image, volumes, container, *arguments) as (process, log):
        yield
        process.terminate()
        assert process.wait(WAIT_S) == 0, log_of(log)


@contextmanager
def _container(
    image: Image, volumes: Volumes, container: dict[str, Any], *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Runs the image's command with a container's arguments, and stops it at the end if it is still there."""
    assert image.config["User"] == str(USER)
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(  # noqa: S603
            [*_contained(image, volumes, container["volumeMounts"]), *image.config["Entrypoint"], *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=image.environment,  # neither HOME nor USER: Kubernetes sets none
        ) as process,
    ):
        try:
            yield process, log
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(WAIT_S)


def log_of(log: IO[str]) -> str:
    """Returns what a process that has ended wrote to its log."""
    log.seek(0)
    return log.read()


def _contained(image: Image, volumes: Volumes, mounts: Sequence[dict[str, Any]]) -> list[str]:
    """Returns what to put before a command for it to run in a read-only file system with its volumes, as the image's user."""
    unshare = needed(shutil.which("unshare"), "running a pod needs unshare (util-linux)")
    folder = shlex.quote(str(volumes.state.parent / "root"))
    (volumes.state.parent / "root").mkdir(exist_ok=True)
    lines = [
        "set -e",
        "mount --make-rprivate /",
        f"mount -t tmpfs tmpfs {folder}",
        f"cd {folder}",
        "mkdir upper work root",
        f"mount -t overlay overlay -o lowerdir={shlex.quote(str(image.root))},upperdir=upper,workdir=work root",
        "mount --rbind /proc root/proc",
        "mount --rbind /dev root/dev",
        *(_mount(volumes, mount) for mount in mounts),
        "mount -o remount,ro root",
        f'exec chroot root setpriv {_STRANGER} env -C {image.config["WorkingDir"]} "$@"',
    ]
    return [unshare, "--mount", "sh", "-c", "\n".join(lines), sys.argv[0]]


def _mount(volumes: Volumes, mount: dict[str, Any]) -> str:
    """Returns the command that mounts a volume at its place in the new root."""
    source = shlex.quote(str(getattr(volumes, mount["name"])))
    place = shlex.quote(f"root{mount['mountPath']}")
    command = f"mkdir -p {place} && mount --bind {source} {place}"
    return f"{command} && mount -o remount,bind,ro {place}" if mount.get("readOnly", False) else command
