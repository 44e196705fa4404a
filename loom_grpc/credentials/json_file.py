"""JSON files that several processes read and replace: whole at any moment, and for one user's eyes."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from loom_grpc.core.account import StoreError

Document = dict[str, Any]

_CHANGE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# A pipe in the file's place must not keep a thread waiting for somebody to write.
_LOOK: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the server's user may not use more of the disk; make room",
    errno.EFBIG: "the server's user may not write a file of this size; raise the limit",
    errno.EISDIR: "it is a folder; move it away, or set credentials.file to another place",
    errno.EROFS: "the file system is read-only; mount it writable, or set credentials.file to another place",
    errno.EACCES: "the server's user may not use it; let that user own the file and its folder",
    errno.EPERM: "the server's user may not use it; let that user own the file and its folder",
    errno.ETIMEDOUT: "another process keeps it locked; end that process",
}


@contextmanager
def in_words(file: Path) -> Iterator[None]:
    """Turns what the system says into a `StoreError`."""
    try:
        yield
    except OSError as error:
        # filelock's own Timeout is an OSError without a number.
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
        advice = _ADVICE.get(number or 0, error.strerror or type(error).__name__)
        raise StoreError(f"The file {file} cannot be used: {advice}.") from error


class _UnfitError(StoreError):
    """A file is there and must not be used, or makes no sense."""


def version_of(file: Path) -> tuple[int, ...] | None:
    """Returns what tells one version of a file from another, the time of its last change first; None when there is no file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_dev, status.st_ino, status.st_mode, status.st_uid


def read(file: Path, *, wanted: bool = False) -> Document:
    """Reads a file; raises `StoreError` for one that is damaged, or that others may read or write.

    Where there is none it is as if it were empty, unless it is `wanted`. Another process may be replacing it: it is seen as it was before
    or as it is after.
    """
    with in_words(file):
        try:
            descriptor = os.open(file, _LOOK)
        except FileNotFoundError:
            if wanted:
                raise StoreError(
                    f"The file {file} held accounts and is gone; put it back, or restart the server to begin anew."
                ) from None
            return {}
        with os.fdopen(descriptor, "rb") as stream:
            _check(os.fstat(descriptor), file)
            content = stream.read()
    return _parse(content, file)


def read_if_fit(file: Path) -> Document:
    """Reads a file that is not precious: one that makes no sense is as good as none, and is written anew."""
    try:
        return read(file)
    except _UnfitError:
        return {}


def _check(status: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _UnfitError(f"The file {file} is not a file; move it away, or set credentials.file to another place.")
    if status.st_uid != os.geteuid():
        raise _UnfitError(
            f"The file {file} belongs to another user, who could change it; it is not used."
            f" Give it to the server's user with `chown {os.geteuid()} {file}`."
        )
    if status.st_mode & 0o077:
        raise _UnfitError(
            f"The file {file} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}); it is not used."
            f" Close it with `chmod 600 {file}`, and renew the keys in it if somebody may have read them."
        )


def _parse(content: bytes, file: Path) -> Document:
    try:
        document = json.loads(content, object_pairs_hook=_without_doubles, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        # The parser's own words may quote the file.
        document = None
    if not isinstance(document, dict):
        raise _UnfitError(
            f"The file {file} is damaged: it is not one JSON object. Nothing is read from it or written to it;"
            " repair it, put a copy in its place, or move it away to begin anew."
        )
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> Document:
    """Makes an object; of a name that is there twice, writing it again would lose one."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a name is there twice")
    return document


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("JSON has no such number")
    return number


def write(documents: Mapping[Path, Document], *, lasting: bool = True) -> None:
    """Puts files in the place of those that are there; where the disk does not take them, all stay as they are. Needs the lock."""
    try:
        for file, document in documents.items():
            _draft(file, document, lasting=lasting)
        for file in documents:
            _draft_of(file).replace(file)
    except BaseException:
        for file in documents:
            _draft_of(file).unlink(missing_ok=True)
        raise
    if lasting:
        for folder in {file.parent for file in documents}:
            _make_last(folder)


def _draft_of(file: Path) -> Path:
    """Names the new version of a file: always the same, so that those of processes that died do not pile up."""
    return file.with_name(f".{file.name}.new")


def _draft(file: Path, document: Document, *, lasting: bool) -> None:
    draft = _draft_of(file)
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, _CHANGE, 0o600), "wb") as stream:
        stream.write(json.dumps(document, indent=2, allow_nan=False).encode() + b"\n")
        stream.flush()
        _make_newer(stream.fileno(), version_of(file))
        if lasting:
            os.fsync(stream.fileno())


def _make_newer(descriptor: int, version: tuple[int, ...] | None) -> None:
    """Dates a file after the one that it replaces, also when the clock stands still or goes back: `revision` relies on it."""
    if version is not None and os.fstat(descriptor).st_mtime_ns <= version[0]:
        os.utime(descriptor, ns=(version[0] + 1, version[0] + 1))


def _make_last(folder: Path) -> None:
    """Writes a folder's names to the disk, where its file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
