"""Where an export goes, and how far it is."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loom_grpc.cli.output import LocalError, UsageError, leave_pipe, say_file


@contextmanager
def destination(output: str | None) -> Iterator[Callable[[str], None]]:
    """Yields what writes text to a file, or to standard output without one.

    The file takes its name when all went well, and is its owner's alone. Raises `UsageError` for what cannot be such a file, and
    `LocalError` where it cannot be written.
    """
    if output:
        with _file(output) as write:
            yield write
    else:
        yield _to_standard_output
        _to_standard_output("")


def _to_standard_output(text: str) -> None:
    try:
        say_file(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        leave_pipe()  # else the same would go wrong again at the end
        raise LocalError(f"standard output: {problem.strerror}") from problem


@contextmanager
def _file(output: str) -> Iterator[Callable[[str], None]]:
    """Yields what writes to a new file, which takes another's place at the end."""
    with _troubles(output):
        path = _path(output)
        # Beside the file, since a name cannot be taken over from another file system.
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:

            def write(text: str) -> None:
                with _troubles(output):
                    file.write(text)

            yield write
            with _troubles(output):
                file.flush()
                os.fsync(file.fileno())
        with _troubles(output):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _path(output: str) -> Path:
    """Returns the file that is meant, behind links; raises `UsageError` for a device or a folder."""
    path = Path(output).resolve()
    if path.exists() and not path.is_file():
        raise UsageError(f"{output}: is no file; without --output the export goes to standard output")
    return path


@contextmanager
def _troubles(output: str) -> Iterator[None]:
    """Says what is wrong with a file."""
    try:
        yield
    except OSError as problem:
        raise LocalError(f"{output}: {problem.strerror}") from problem


@contextmanager
def progress(to_file: bool) -> Iterator[Callable[[int, int], None]]:
    """Yields what is told how many more records have come, and of how many, and shows it at a terminal that shows nothing else."""
    if not sys.stderr.isatty() or (sys.stdout.isatty() and not to_file):
        yield lambda _more, _total: None
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # the client alone is installed
        yield lambda _more, _total: None
        return
    # By itself tqdm shows nothing at a terminal that does not tell its size, and what came last only with what comes next.
    size = shutil.get_terminal_size()
    with tqdm(unit=" records", file=sys.stderr, ncols=size.columns, nrows=size.lines, mininterval=0, miniters=1) as bar:

        def advance(more: int, total: int) -> None:
            bar.total = total
            bar.update(more)

        yield advance
