from __future__ import annotations

import asyncio
from typing import Any

from loom_grpc.core.call import Call, Send
from loom_grpc.v1.llm_service_pb2 import LlmEvent, Started
from tests.shim.serving import DONE, WAIT_S, Script, configuration, plays, request, shim, text

ASK: dict[str, Any] = {"model": "mock-words", "input": "hi"}
PATH = "/v1/responses"


async def test_a_prompt_is_counted() -> None:
    async with shim() as edge:
        answer = await edge.post(f"{PATH}/input_tokens", ASK)

    assert (answer.status, answer.json["object"]) == (200, "response.input_tokens")
    assert answer.json["input_tokens"] > 0


async def test_what_no_other_provider_can_be_told_is_dropped_where_that_is_configured() -> None:
    body = {**ASK, "tools": [{"type": "web_search"}], "top_logprobs": 3}
    async with shim(configuration(compat={"untold": "drop"})) as edge:
        answer = await edge.post(PATH, body)

    assert (answer.status, answer.headers["loom-dropped"]) == (200, "tools[0], top_logprobs")


async def test_a_response_is_kept_before_its_caller_knows_of_it() -> None:
    async with shim(gateway=plays(LlmEvent(started=Started(model="m")), text("Hello."), DONE)) as edge:
        answer = await edge.post(PATH, {**ASK, "stream": True})
        last = answer.events[-1]
        kept = await edge.get(f"{PATH}/{last['response']['id']}")

    assert last["type"] == "response.completed"
    assert kept.json == last["response"]


async def test_what_a_caller_who_went_away_has_not_heard_is_not_kept() -> None:
    async def hang(call: Call, send: Send) -> None:
        await send(LlmEvent(started=Started(model="m")))
        await send(text("Hel"))
        await asyncio.Event().wait()

    script = Script(hang)
    async with shim(gateway=script) as edge:
        reader, writer = await edge.connect(request(PATH, {**ASK, "stream": True}))
        head = await asyncio.wait_for(reader.readuntil(b"response.in_progress"), WAIT_S)
        id = head.partition(b'"id":"')[2].partition(b'"')[0].decode()
        writer.close()
        await asyncio.wait_for(script.cancelled.wait(), WAIT_S)
        looked = await edge.get(f"{PATH}/{id}")

    assert id.startswith("resp_loom")
    assert looked.status == 404


async def test_a_kept_response_is_not_streamed_again() -> None:
    async with shim() as edge:
        answer = await edge.post(PATH, ASK)
        looked = await edge.get(f"{PATH}/{answer.json['id']}?stream=true")

    assert (looked.status, looked.json["error"]["param"]) == (400, "stream")


async def test_an_id_that_no_store_could_hold_is_not_found() -> None:
    async with shim() as edge:
        looked = await edge.get(f"{PATH}/resp_%00")
        went_on = await edge.post(PATH, {**ASK, "previous_response_id": "resp_\0"})

    assert [looked.status, went_on.status] == [404, 400]
    assert went_on.json["error"]["code"] == "previous_response_not_found"


async def test_a_response_that_other_items_are_of_is_not_needed() -> None:
    """An item of a response that is gone is taken for what it says."""
    item = {"id": f"msg_loom{'0' * 41}", "type": "message", "role": "assistant", "content": "Hello."}
    async with shim() as edge:
        answer = await edge.post(PATH, {**ASK, "input": [item, {"role": "user", "content": "more"}]})

    assert answer.status == 200


async def test_the_ids_of_a_response_and_its_items_belong_together() -> None:
    async with shim() as edge:
        answer = await edge.post(PATH, ASK)

    (item,) = answer.json["output"]
    assert item["id"].startswith(f"msg_{answer.json['id'].removeprefix('resp_')}")
