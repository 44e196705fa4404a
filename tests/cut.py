"""Cancelling something at each point at which it waits, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class Cut:
    """Awaits something that is cancelled when it waits for the nth time, or, where it is `late`, when what it waited for has come.

    `waits` tells how often it did.
    """

    def __init__(self, what: Coroutine[Any, Any, object], at: int, *, late: bool = False) -> None:
        self._what = what
        self._at = at
        self._late = late
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, object]:
        what = self._what.__await__()
        try:
            waiting = next(what)
            while True:
                self.waits += 1
                is_cut = self.waits == self._at
                try:
                    if not is_cut or self._late:
                        yield waiting
                    if is_cut:
                        raise asyncio.CancelledError
                except BaseException as error:  # noqa: BLE001 - it is for what is awaited
                    waiting = what.throw(error)
                else:
                    waiting = what.send(None)
        except StopIteration as end:
            return end.value
