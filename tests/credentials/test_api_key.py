"""A key in a header, and how it follows the secret behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom_grpc.config import VaultConfig
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.api_key import ApiKey
from loom_grpc.credentials.secret import Secret, Secrets


async def test_a_key_is_shown_in_its_header() -> None:
    key = ApiKey("authorization", "Bearer ", Secret.literal("sk-1"))

    assert await key.headers() == {"authorization": "Bearer sk-1"}


async def test_without_a_key_nothing_is_shown_and_nothing_is_newer() -> None:
    key = ApiKey("x-api-key", "", None)

    assert await key.headers() == {}
    assert await key.renewed({}) is None


async def test_the_header_is_made_once_for_all_calls() -> None:
    key = ApiKey("x-api-key", "", Secret.literal("sk-1"))

    assert await key.headers() is await key.headers()


async def test_a_key_that_never_changes_has_no_successor() -> None:
    key = ApiKey("x-api-key", "", Secret.literal("sk-1"))

    assert await key.renewed(await key.headers()) is None


async def test_a_refused_key_is_looked_up_at_once(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    secrets = Secrets({})
    key = ApiKey("x-api-key", "", secrets.find(f"file:{file}", "providers.a.api_key"))
    refused = await key.headers()
    file.write_text("sk-2")

    newer = await key.renewed(refused)

    assert (refused, newer, await key.headers()) == ({"x-api-key": "sk-1"}, {"x-api-key": "sk-2"}, newer)
    assert await key.renewed({"x-api-key": "sk-2"}) is None
    await secrets.close()


async def test_who_was_refused_with_an_older_key_gets_the_present_one_without_a_look(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    key = ApiKey("x-api-key", "", Secrets({}).find(f"file:{file}", "providers.a.api_key"))
    file.unlink()

    assert await key.renewed({"x-api-key": "sk-0"}) == {"x-api-key": "sk-1"}


async def test_while_the_key_is_not_to_be_had_calls_fail_as_ones_that_may_be_repeated() -> None:
    vault = VaultConfig.model_validate({"address": "http://127.0.0.1:1", "token": "hvs.token"})
    key = ApiKey("x-api-key", "", Secrets({}, vault).find("vault:kv/a#key", "providers.a.api_key"))

    with pytest.raises(LlmError) as caught:
        await key.headers()

    assert caught.value.reason == PROVIDER_UNAVAILABLE
    assert caught.value.message == (
        "The secret providers.a.api_key cannot be fetched at present: it has not been read yet. Try again later."
    )


async def test_a_key_does_not_show_itself() -> None:
    assert repr(ApiKey("x-api-key", "", Secret.literal("sk-1"))) == "ApiKey([REDACTED])"
