"""A secret in a file, which may be replaced while the server runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from loom_grpc.credentials.secret_text import SecretError, usable

_MOST_BYTES: Final = 64 * 2**10
_SETTLE_S: Final = 0.1
"""For how long a new file must stay as it is before it counts: whoever writes it in place may be halfway."""
_LOOKS: Final = 5


class SecretFile:
    """Reads a file again once it is another one; symbolic links are followed. Its methods block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        """How the file was when it was read; nothing at first, because it may have been read halfway."""

    def read(self) -> str:
        """Returns what is in the file; line breaks at its end do not count. Raises `SecretError`."""
        try:
            with self._path.open("rb") as stream:
                content = stream.read(_MOST_BYTES + 1)
            text = content.decode()
        except OSError as error:
            raise SecretError(f"cannot read the file {self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SecretError(f"the file {self._path} is not text") from None
        if len(content) > _MOST_BYTES:
            raise SecretError(f"the file {self._path} is too large for a secret")
        return usable(text.rstrip("\r\n"), f"the file {self._path}")

    def changed(self) -> bool:
        """Tells whether the file is to be read again, be it only to learn what is wrong with it."""
        try:
            return self._signature() != self._seen
        except SecretError:
            return True

    def read_again(self) -> str | None:
        """Returns what is in the file if it is another one than at the last look; raises `SecretError`.

        A file that goes on changing is left for the next look.
        """
        signature = self._signature()
        for _ in range(_LOOKS if signature != self._seen else 0):
            time.sleep(_SETTLE_S)
            before, signature = signature, self._signature()
            if signature == before:
                text = self.read()
                self._seen = signature
                return text
        return None

    def _signature(self) -> tuple[int, ...]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise SecretError(f"cannot read the file {self._path}: {error.strerror}") from None
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
