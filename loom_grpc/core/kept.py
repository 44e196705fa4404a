"""Responses that callers may come back to, and what keeps them."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class KeptResponse(NamedTuple):
    """A response of the Responses API with the input that it answers."""

    tenant: str
    """Whose it is; nobody else is told that it exists."""
    id: str
    previous: str
    """The id of the response that it goes on from; empty for the first of a conversation."""
    input_json: str
    """The items of its own request, a JSON array; those of the responses before it are kept with them."""
    response_json: str
    """The response, a JSON object, with everything that the next turn needs."""


class ResponseStore(Protocol):
    """Keeps responses for some time; several processes may share one. Every method raises `StoreError` when the store cannot be had."""

    async def put(self, kept: KeptResponse) -> None:
        """Keeps a response, in the place of one with its id."""

    async def chain(self, tenant: str, id: str) -> list[KeptResponse]:
        """Returns a response and all that it goes on from, the first of the conversation first; those that are gone are missing."""

    async def delete(self, tenant: str, id: str) -> bool:
        """Forgets a response; tells whether there was one."""

    async def close(self) -> None:
        """Lets go of files and connections."""
