"""What becomes of responses that are kept: the next turn goes on from them, and callers look at them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from loom_grpc.core.errors import INVALID_REQUEST, LlmError, storage_unavailable
from loom_grpc.core.exact import dumps, loads
from loom_grpc.core.kept import KeptResponse
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.openai_responses_request import OURS, input_items

ENCRYPTED: Final = "reasoning.encrypted_content"
"""What a caller includes who brings the model's state back itself."""
TOKEN_CHARS: Final = 40
"""How long the part is of this server's ids that tells responses apart."""

_PREFIXES: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_MOST_ITEMS: Final = 100
_MOST_CHARS: Final = 256
_MOST_LOOKED_UP: Final = 32
"""So many responses back, providers may still want what the client was not shown."""


def continued(value: Mapping[str, Any], chain: Sequence[KeptResponse]) -> dict[str, Any]:
    """Returns a request whose input begins with all that was said before, the first response of the conversation first."""
    before = [item for kept in chain for item in conversation_of(kept)]
    return {**value, "input": [*before, *input_items(value)]}


def conversation_of(kept: KeptResponse) -> list[Any]:
    """Returns the items of a response's own input and of its output."""
    return [*loads(kept.input_json.encode()), *loads(kept.response_json.encode())["output"]]


def kept(tenant: str, value: Mapping[str, Any], response: Mapping[str, Any]) -> KeptResponse:
    """Returns what is to be kept of a request, as it came, and its response; raises TypeError for what cannot be written."""
    response_id = str(response["id"])
    items = [_with_id(item, response_id, number) for number, item in enumerate(input_items(value))]
    previous = value.get("previous_response_id") or ""
    return KeptResponse(tenant, response_id, previous, dumps(items), dumps(response))


def can_be_kept(response: Mapping[str, Any]) -> bool:
    """Tells whether a response is one that callers can come back to, which not every host's is."""
    return may_be_known(response.get("id")) and isinstance(response.get("output"), list)


def may_be_known(response_id: object) -> bool:
    """Tells whether a response may have this id: no database is asked for what it could not hold."""
    return isinstance(response_id, str) and 0 < len(response_id) <= _MOST_CHARS and response_id.isprintable()


def response_id_of(item_id: str) -> str:
    """Returns the id of the response that an item with an id of this server's belongs to."""
    token = item_id.partition(OURS)[2]
    return f"resp{OURS}{token[:TOKEN_CHARS]}"


def named(value: Mapping[str, Any]) -> dict[str, bool]:
    """Returns the ids of the responses of this server's that items of the input are of, and whether one is named without its content.

    Clients that let the server keep responses send items back by their ids alone, or without what was never shown to them.
    """
    items = [item for item in input_items(value) if isinstance(item, dict) and OURS in str(item.get("id"))]
    complete = {response_id_of(item["id"]) for item in items if _is_carrier(item)}
    found: dict[str, bool] = {}
    for item in items:
        response_id = response_id_of(item["id"])
        if _is_reference(item) or response_id not in complete:
            found[response_id] = found.get(response_id, False) or _is_reference(item)
    unneeded = [response_id for response_id, is_needed in found.items() if not is_needed]
    for response_id in unneeded[:-_MOST_LOOKED_UP]:
        del found[response_id]
    return found


def resolved(value: Mapping[str, Any], found: Mapping[str, KeptResponse]) -> dict[str, Any]:
    """Returns a request with items in the place of their names, and with what the next turn needs of responses, by their ids.

    Raises `HttpError` for the name of an item that is not there.
    """
    content = {item["id"]: item for kept in found.values() for item in conversation_of(kept) if "id" in item}
    items: list[Any] = []
    for item in input_items(value):
        if _is_reference(item) and item["id"] not in content:
            raise HttpError(400, f"Item with id '{item['id'][:200]}' not found.", "input")
        items.append(content[item["id"]] if _is_reference(item) else item)
    for kept in found.values():
        _add_state(items, kept)
    return {**value, "input": items}


def shown(response_json: str, include: Sequence[str]) -> bytes:
    """Writes a kept response as its caller may see it."""
    response = loads(response_json.encode())
    if ENCRYPTED not in include:
        response["output"] = [item for item in response["output"] if not _is_carrier(item)]
    return dumps(response).encode()


def item_list(chain: Sequence[KeptResponse], query: Mapping[str, str]) -> bytes:
    """Writes a page of the items that the last response of a chain answers; raises `HttpError`."""
    before = [item for kept in chain[:-1] for item in conversation_of(kept)]
    items = [item for item in [*before, *loads(chain[-1].input_json.encode())] if not _is_carrier(item)]
    if query.get("order", "desc") == "desc":
        items.reverse()
    limit = _limit(query.get("limit", "20"))
    if after := query.get("after"):
        ids = [item.get("id") for item in items]
        if after not in ids:
            raise HttpError(400, f"after: there is no item {after[:80]!r}.", "after")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0].get("id"), "last_id": page[-1].get("id")} if page else {"first_id": "", "last_id": ""}
    return dumps({"object": "list", "data": page, **ends, "has_more": len(items) > limit}).encode()


def deleted(response_id: str) -> bytes:
    """Writes that a response is forgotten."""
    return orjson.dumps({"id": response_id, "object": "response", "deleted": True})


def unknown(response_id: str) -> HttpError:
    """Makes the refusal of a response that is looked for and not there, or not the caller's."""
    return HttpError(404, f"Response with id '{response_id[:200]}' not found.")


def unknown_previous(response_id: str) -> LlmError:
    """Makes the refusal to go on from a response that is not there, or not the caller's."""
    message = f"Previous response with id '{response_id[:200]}' not found."
    field = "previous_response_id"
    return LlmError(INVALID_REQUEST, message, field=field, code="previous_response_not_found")


def unavailable(detail: str) -> LlmError:
    """Makes the error of a call that needs a kept response while the store cannot be had."""
    message = "The responses that this server keeps cannot be read at the moment; try again."
    return storage_unavailable(message, retry_after=1.0, detail=detail)


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_ITEMS:
        raise HttpError(400, f"limit: must be a number from 1 to {_MOST_ITEMS}.", "limit")
    return int(text)


def _is_reference(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "item_reference" and OURS in str(item.get("id"))


def _is_carrier(item: Any) -> bool:
    """Tells whether an item is there for this server alone."""
    return item.get("type") == "reasoning" and str(item.get("encrypted_content")).startswith("loom.")


def _add_state(items: list[Any], kept: KeptResponse) -> None:
    """Adds what was not shown of a response behind the last of its items."""
    carriers = [item for item in loads(kept.response_json.encode())["output"] if _is_carrier(item)]
    ids = [str(item.get("id")) if isinstance(item, dict) else "" for item in items]
    places = [place for place, id in enumerate(ids) if response_id_of(id) == kept.id]
    if carriers and places and not any(_is_carrier(items[place]) for place in places):
        items[places[-1] + 1 : places[-1] + 1] = carriers


def _with_id(item: Any, response_id: str, number: int) -> Any:
    """Returns an item of the input as the API lists it."""
    if not isinstance(item, dict):
        return item
    kind = item.get("type") or "message"
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        word = "output_text" if item.get("role") == "assistant" else "input_text"
        item = {**item, "content": [{"type": word, "text": content}]}
    token = response_id.partition(OURS)[2] or response_id.partition("_")[2]
    return {"id": f"{_PREFIXES.get(kind, 'item')}{OURS}{token}i{number}", **item, "type": kind}
