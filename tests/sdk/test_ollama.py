"""Ollama's own client works through the raw pass-through, and gets what it gets straight from the provider."""

from __future__ import annotations

from typing import Any

import ollama
import pytest

from tests.sdk.recorded import PROVIDER, both, cases
from tests.wire.cases import Case

CASES = cases("chat")


async def answered(url: str, case: Case) -> list[dict[str, Any]]:
    """Asks for a case; returns the objects of its answer."""
    messages = [{"role": "user", "content": "Hi"}]
    async with ollama.AsyncClient(host=url) as client:
        if not case.stream:
            return [(await client.chat(model="m", messages=messages)).model_dump()]
        return [part.model_dump() async for part in await client.chat(model="m", messages=messages, stream=True)]


async def outcome(url: str, case: Case) -> tuple[list[dict[str, Any]], str]:
    """Asks for a case; returns the objects of its answer, or why there are none."""
    try:
        return await answered(url, case), ""
    except (ollama.ResponseError, ValueError) as error:
        return [], type(error).__name__


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_the_client_gets_the_same_objects_straight_and_through_us(case: Case) -> None:
    async with both(case, dialect="ollama", raw=True) as at:
        straight = await outcome(at.direct, case)
        through = await outcome(f"{at.through}/{PROVIDER}/raw", case)

    assert through == straight
    assert [asked.path for asked in at.provider.asked] == ["/api/chat"] * 2
    assert at.provider.asked[0].json == at.provider.asked[1].json


def test_there_are_answers_to_compare() -> None:
    assert len(CASES) > 5
