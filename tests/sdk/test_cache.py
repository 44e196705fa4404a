"""An answer in the provider's own words comes out of the response cache to the byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.recorded import PROVIDER, cases
from tests.shim.serving import configuration, shim
from tests.stand_in import answer, stand_in

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 99}


@pytest.mark.parametrize(
    ("api", "dialect", "path", "stream"),
    [
        ("chat_completions", "openai", "/v1/chat/completions", True),
        ("chat_completions", "openai", "/v1/chat/completions", False),
        ("messages", "anthropic", "/v1/messages", True),
        ("messages", "anthropic", "/v1/messages", False),
    ],
)
async def test_the_second_answer_is_the_first_one_and_the_provider_is_not_asked(
    api: str, dialect: str, path: str, stream: bool
) -> None:
    case = next(case for case in cases(api) if case.stream is stream and case.expect and case.expect.get("text"))
    async with stand_in(answer(case.body, content_type=case.media_type)) as upstream:
        providers = {PROVIDER: {"dialect": dialect, "base_url": upstream.url, "api_key": "k"}}
        config = configuration(providers=providers, cache={"enabled": True})
        async with shim(config) as ours:
            body = {"model": f"{PROVIDER}/m", "stream": stream, **HI}
            first, second = await ours.post(path, body), await ours.post(path, body)
            left_out = await ours.post(path, body, loom_cache="no")

    assert [told.headers.get("loom-cache") for told in (first, second, left_out)] == ["miss", "hit", None]
    assert (second.body, second.headers["loom-attempts"]) == (first.body, "0")
    assert len(upstream.asked) == 2
