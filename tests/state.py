"""Where the state of a server is kept that runs in the process of a test, and what is open of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def state_of_its_own(environ: Mapping[str, str] | None = None) -> Iterator[Mapping[str, str]]:
    """Gives an environment whose state is in a folder that goes with the test, unless it says where that is."""
    given = environ or {}
    if given.keys() & {"HOME", "XDG_STATE_HOME"}:
        yield given
        return
    with TemporaryDirectory(prefix="loom-grpc-") as folder:
        yield {"XDG_STATE_HOME": folder, **given}


def held(folder: Path) -> set[str]:
    """Returns the names of a folder's files that this process has open or in its memory."""
    files = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    files += [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    return {Path(file).name for file in files if file.startswith(f"{folder}/")}
