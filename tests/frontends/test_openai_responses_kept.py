from __future__ import annotations

import json
from typing import Any

import pytest

from loom_grpc.core.exact import loads
from loom_grpc.core.kept import KeptResponse
from loom_grpc.frontends import openai_responses_kept as pages
from loom_grpc.frontends.body import HttpError

TOKEN = "ab" * 20
RESPONSE_ID = f"resp_loom{TOKEN}"
STATE = {"id": f"rs_loom{TOKEN}1", "type": "reasoning", "summary": [], "encrypted_content": "loom.AAAA"}
SAID: dict[str, Any] = {"id": f"msg_loom{TOKEN}0", "type": "message", "role": "assistant", "content": []}
RESPONSE: dict[str, Any] = {"id": RESPONSE_ID, "output": [SAID, STATE]}


def kept(**body: Any) -> KeptResponse:
    return pages.kept("ann", {"model": "m", "input": "hi", **body}, RESPONSE)


def asked(text: str, number: int = 0) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"id": f"msg_loom{TOKEN}i{number}", "type": "message", "role": "user", "content": content}


def listed(chain: list[KeptResponse], **query: str) -> dict[str, Any]:
    page: dict[str, Any] = json.loads(pages.item_list(chain, query))
    return page


def test_a_response_is_kept_with_its_own_input_as_items() -> None:
    one = kept(previous_response_id="resp_0", input=[{"role": "user", "content": "hi"}])

    assert (one.tenant, one.id, one.previous) == ("ann", RESPONSE_ID, "resp_0")
    assert json.loads(one.input_json) == [asked("hi")]
    assert json.loads(one.response_json) == RESPONSE


def test_numbers_longer_than_a_machines_stay_as_they_are() -> None:
    response = loads(b'{"id": "resp_1", "output": [{"type": "web_search_call", "n": 12345678901234567890123}]}')

    assert "12345678901234567890123" in pages.kept("ann", {}, response).response_json


def test_the_next_request_begins_with_what_was_said() -> None:
    value = pages.continued({"model": "m", "input": "more"}, [kept(), kept(input="again")])

    content = [{"type": "input_text", "text": "more"}]
    assert value["input"] == [
        *(asked("hi"), SAID, STATE),
        *(asked("again"), SAID, STATE),
        {"type": "message", "role": "user", "content": content},
    ]


def test_state_is_shown_to_whoever_asks_for_it() -> None:
    text = json.dumps(RESPONSE)

    assert json.loads(pages.shown(text, []))["output"] == [SAID]
    assert json.loads(pages.shown(text, [pages.ENCRYPTED]))["output"] == [SAID, STATE]


def test_items_are_listed_newest_first_without_what_is_for_the_server_alone() -> None:
    page = listed([kept(), kept(input="again")])

    assert page["data"] == [asked("again"), SAID, asked("hi")]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (asked("x")["id"], asked("x")["id"], False)


def test_a_page_goes_on_after_an_item() -> None:
    chain = [kept(input=[{"role": "user", "content": str(number)} for number in range(4)])]

    page = listed(chain, order="asc", limit="2", after=asked("", 0)["id"])

    assert page["data"] == [asked("1", 1), asked("2", 2)]
    assert page["has_more"]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "many"}, {"after": "nothing"}])
def test_a_page_that_cannot_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(HttpError) as raised:
        listed([kept()], **query)

    assert raised.value.field == next(iter(query))


def test_an_item_tells_its_response() -> None:
    assert pages.response_id_of(SAID["id"]) == RESPONSE_ID
    assert pages.response_id_of(asked("hi")["id"]) == RESPONSE_ID


def test_references_are_replaced_by_items() -> None:
    theirs = {"type": "item_reference", "id": "msg_theirs"}
    value = {"input": [{"type": "item_reference", "id": SAID["id"]}, theirs]}

    assert pages.named(value) == {RESPONSE_ID: True}
    assert pages.resolved(value, {RESPONSE_ID: kept()})["input"] == [SAID, STATE, theirs]


def test_a_reference_to_nothing_is_refused_in_openais_words() -> None:
    with pytest.raises(HttpError) as raised:
        pages.resolved({"input": [{"type": "item_reference", "id": SAID["id"]}]}, {})

    assert (raised.value.field, raised.value.message) == ("input", f"Item with id '{SAID['id']}' not found.")


def test_what_a_client_was_not_shown_is_added_behind_what_it_sends_back() -> None:
    value = {"input": [SAID, {"role": "user", "content": "more"}]}

    assert pages.named(value) == {RESPONSE_ID: False}
    assert pages.resolved(value, {RESPONSE_ID: kept()})["input"] == [SAID, STATE, value["input"][1]]


def test_only_so_many_responses_are_looked_up_for_what_was_not_shown() -> None:
    items = [{"id": f"msg_loom{number:040}0", "type": "message"} for number in range(40)]
    items.append({"id": f"msg_loom{0:040}1", "type": "item_reference"})

    named = pages.named({"input": items})

    assert named == {f"resp_loom{0:040}": True, **{f"resp_loom{number:040}": False for number in range(8, 40)}}


def test_what_is_no_object_is_left_for_others_to_refuse() -> None:
    assert pages.resolved({"input": [7, SAID]}, {RESPONSE_ID: kept()})["input"] == [7, SAID, STATE]


def test_a_client_that_brings_the_state_back_needs_no_look_at_what_is_kept() -> None:
    assert pages.named({"input": [SAID, STATE]}) == {}
    assert pages.named({"input": [{"role": "user", "content": "hi"}]}) == {}


@pytest.mark.parametrize("id", ["", "resp_\0", "r" * 257, None, 7])
def test_what_is_no_id_is_not_looked_for(id: object) -> None:
    assert not pages.may_be_known(id)
