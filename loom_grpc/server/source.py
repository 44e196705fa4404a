"""Where a server's configuration comes from, so that it can be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from loom_grpc.config import Config, ConfigError, Loaded, changed_keys, refuse_fixed

_SETTLE_S: Final = 0.2
"""A file that has just changed is looked at again after this, and read when it has not changed meanwhile."""

_Mark = tuple[int, ...]
"""What a file shows when it is written or replaced."""


class Source:
    """The file, the environment and the flags that a server was started with. `read` puts them together and raises `ConfigError`."""

    def __init__(self, file: Path | None, read: Callable[[], Loaded]) -> None:
        self._file = file
        self._read = read
        self._mark = self._look()
        self._content = self._digest()
        self._settled = True

    def read(self) -> Loaded:
        """Reads the configuration; raises `ConfigError`."""
        return self._read()

    def renew(self, config: Config) -> Loaded:
        """Reads the configuration that may follow another one; raises `ConfigError`."""
        if self._file is not None and self._file.exists() and not self._file.is_file():
            raise ConfigError(
                f"{self._file}: is no regular file, so it cannot be read a second time; restart the server"
            )
        loaded = self._read()
        refuse_fixed(changed_keys(config, loaded.config), loaded.origins)
        return loaded

    def pause_s(self, poll_s: float) -> float:
        """Returns how long to wait before the next look."""
        return poll_s if self._settled else min(poll_s, _SETTLE_S)

    def has_changed(self) -> bool:
        """Tells whether the file has other content than when this was last asked, once nobody writes to it any more.

        A file that is replaced counts, also where a link on the way to it is, as Kubernetes does with a ConfigMap.
        """
        mark = self._look()
        if mark != self._mark:
            self._mark, self._settled = mark, False
            return False
        if self._settled:
            return False
        self._settled = True
        before, self._content = self._content, self._digest()
        return self._content != before

    def _look(self) -> _Mark:
        try:
            stat = self._file.stat() if self._file is not None else None
        except OSError:
            return ()
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if stat is not None else ()

    def _digest(self) -> bytes:
        """Returns a digest of the file, none when there is no such file; a pipe is not read, for that would empty it."""
        try:
            if self._file is None or not self._file.is_file():
                return b""
            return hashlib.blake2b(self._file.read_bytes()).digest()
        except OSError:
            return b""
