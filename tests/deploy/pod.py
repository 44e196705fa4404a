"""A pod as a kubelet would run it: the image's command and user, the manifest's volumes, and a root file system that nobody can write to.

There is no cluster here and no image. What the image would hold is this machine's own file system, read-only.
"""

from __future__ import annotations

import json
import os
import re
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

from tests.deploy.installed import configuration_of, container_of, named
from tests.needed import needed
from tests.operated import ADMIN_KEY
from tests.program import COMMAND, ROOT, WAIT_S, Server

USER: Final = 10001
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
"""The image's last stage, which is what runs."""
LOOPBACK: Final = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
_NOT_WRITTEN: Final = frozenset({"/tmp"})  # noqa: S108 - the interpreter may live there; one process needs none anyway
_MAY_READ: Final = "dac_read_search"
"""Lets the user read this machine's interpreter wherever it lies, be it in the home folder of root. It lets nobody write."""
_STRANGER: Final = (
    f"--reuid={USER} --regid={USER} --clear-groups --no-new-privs "
    f"--inh-caps=-all,+{_MAY_READ} --ambient-caps=-all,+{_MAY_READ} --bounding-set=-all,+{_MAY_READ}"
)


@dataclass(frozen=True)
class Volumes:
    """What is mounted into a pod."""

    config: Path
    secrets: Path
    state: Path

    @staticmethod
    def made(folder: Path, overlay: str, **secrets: str) -> Volumes:
        """Fills the volumes for an overlay, with secrets besides the two that all have; `state` is empty, and the server's own."""
        volumes = Volumes(*(folder / name for name in ("config", "secrets", "state")))
        for path in (volumes.config, volumes.secrets, volumes.state):
            path.mkdir()
        (volumes.config / "loom.yaml").write_text(configuration_of(overlay))
        secrets |= {"admin_key": ADMIN_KEY, "encryption_key": Fernet.generate_key().decode()}
        for name, text in secrets.items():
            (volumes.secrets / name.replace("_", "-")).write_text(text)
        os.chown(volumes.state, USER, USER)
        return volumes


def instruction(name: str) -> list[str]:
    """Returns the words of an instruction of the image's last stage, of which there is one."""
    found = re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)
    assert len(found) == 1, found
    words: list[str] = json.loads(found[0]) if found[0].startswith("[") else shlex.split(found[0])
    return words


@contextmanager
def pod(volumes: Volumes, overlay: str) -> Iterator[Server]:
    """Runs the server's container and waits until it serves; it listens at free ports of the loopback address instead of its own."""
    container = container_of(named(overlay, "StatefulSet"))
    with _container(volumes, container, *container["args"], *LOOPBACK) as (process, log):
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] and " chat " not in lines[-1]:
            lines.append(process.stdout.readline())
        assert lines[-1], log_of(log)
        yield Server(process, "".join(lines), log)


@contextmanager
def auditor_pod(volumes: Volumes, overlay: str) -> Iterator[None]:
    """Runs the auditor's container, and wants it to end well; its metrics are at a free port of the loopback address."""
    container = container_of(named(overlay, "Deployment", "loom-grpc-auditor"))
    arguments = ["127.0.0.1:0" if argument == "0.0.0.0:9464" else argument for argument in container["args"]]
    with _container(volumes, container, *arguments) as (process, log):
        yield
        process.terminate()
        assert process.wait(WAIT_S) == 0, log_of(log)


@contextmanager
def _container(
    volumes: Volumes, container: dict[str, Any], *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Runs the image's command with a container's arguments, and stops it at the end if it is still there."""
    assert instruction("USER") == [str(USER)]
    assert instruction("ENTRYPOINT") == ["loom-grpc"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(  # noqa: S603
            [*_contained(volumes, container["volumeMounts"]), *COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment(),
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


def _environment() -> dict[str, str]:
    """Returns the image's variables, and where this machine has the package. Neither HOME nor USER: Kubernetes sets none."""
    of_image = dict(pair.split("=", 1) for pair in instruction("ENV"))
    return of_image | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def _contained(volumes: Volumes, mounts: Sequence[dict[str, Any]]) -> list[str]:
    """Returns what to put before a command for it to run in a read-only file system with its volumes, as the image's user."""
    missing = "running a pod needs root, and unshare and setpriv (util-linux)"
    for program in ("unshare", "setpriv"):
        needed(shutil.which(program) if os.geteuid() == 0 else None, missing)
    folder = shlex.quote(str(volumes.state.parent / "root"))
    (volumes.state.parent / "root").mkdir(exist_ok=True)
    lines = [
        "set -e",
        "mount --make-rprivate /",
        f"mount -t tmpfs tmpfs {folder}",
        f"cd {folder}",
        "mkdir upper work root",
        "mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root",
        "mount --rbind /proc root/proc",
        "mount --rbind /dev root/dev",
        *(_bind(path, path, read_only=True) for path in _elsewhere()),
        *(_mount(volumes, mount) for mount in mounts if mount["mountPath"] not in _NOT_WRITTEN),
        "mount -o remount,ro root",
        f'exec chroot root setpriv {_STRANGER} env -C {instruction("WORKDIR")[0]} "$@"',
    ]
    return ["unshare", "--mount", "sh", "-c", "\n".join(lines), sys.argv[0]]


def _elsewhere() -> list[Path]:
    """Returns what is needed and lies on other file systems than the root's, which an overlay of that has not."""
    needs = {Path(sys.prefix), Path(sys.base_prefix), ROOT}
    return sorted(path for path in needs if path.stat().st_dev != Path("/").stat().st_dev)


def _mount(volumes: Volumes, mount: dict[str, Any]) -> str:
    return _bind(getattr(volumes, mount["name"]), Path(mount["mountPath"]), read_only=mount.get("readOnly", False))


def _bind(source: Path, place: Path, *, read_only: bool) -> str:
    """Returns the command that mounts a folder at a place of the new root."""
    inside = shlex.quote(f"root{place}")
    command = f"mkdir -p {inside} && mount --bind {shlex.quote(str(source))} {inside}"
    return f"{command} && mount -o remount,bind,ro {inside}" if read_only else command
