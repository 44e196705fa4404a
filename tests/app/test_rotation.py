"""A key that is rotated while the server runs is in use without a restart and without a failed call."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loom_grpc.config import Config
from tests.app.many_accounts import HEALTHY, many_accounts
from tests.app.test_failover import accounts_of, ask, pool
from tests.server.serving import configuration, serving


def mount(folder: Path, key: str) -> Path:
    """Puts a key where Kubernetes would: behind a link that is replaced in one step."""
    version = folder / f"..{key}"
    version.mkdir(parents=True)
    (version / "key").write_text(f"{key}\n")
    link, new = folder / "..data", folder / "..data_tmp"
    new.symlink_to(version.name)
    new.replace(link)
    file = folder / "key"
    if not file.is_symlink():
        file.symlink_to("..data/key")
    return file


async def test_no_call_fails_while_the_only_key_is_rotated_under_load(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        file = mount(tmp_path / "secret", "key-1")
        provider.moods = {"key-1": HEALTHY}
        async with serving(configuration(provider.url, api_key=f"file:{file}")) as server:
            answers = []
            for version in range(2, 6):
                batch = [asyncio.ensure_future(server.stub.Complete(ask(f"{version} {n}"))) for n in range(40)]
                await asyncio.sleep(0)
                mount(tmp_path / "secret", f"key-{version}")
                provider.moods = {f"key-{version}": HEALTHY}
                answers += await asyncio.gather(*batch)

    assert [answer.message.content for answer in answers] == ["Hello."] * 160
    assert provider.asked[-1][0] == "key-5"


async def test_a_key_that_nobody_refuses_is_replaced_within_five_seconds(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        file = mount(tmp_path / "secret", "old")
        provider.moods = {"old": HEALTHY, "new": HEALTHY}
        async with serving(configuration(provider.url, api_key=f"file:{file}")) as server, asyncio.timeout(5):
            await server.stub.Complete(ask("before"))
            mount(tmp_path / "secret", "new")
            while provider.asked[-1][0] == "old":
                await server.stub.Complete(ask("after"))

    assert provider.asked[-1] == ("new", "after")


async def test_a_refused_account_is_asked_again_when_its_key_is_replaced(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        file = mount(tmp_path / "secret", "revoked")
        provider.moods = {"key-b": HEALTHY, "new": HEALTHY}
        config = pool(provider, tmp_path, "b", strategy="first_available").model_dump(exclude_unset=True)
        config["providers"]["openai"]["accounts"] = {"a": {"api_key": f"file:{file}"}, "b": {"api_key": "key-b"}}
        async with serving(Config.model_validate(config)) as server, asyncio.timeout(10):
            await server.stub.Complete(ask("refused"))
            before = await accounts_of(server)
            mount(tmp_path / "secret", "new")
            while provider.asked[-1][0] != "new":
                await server.stub.Complete(ask("later"))
            after = await accounts_of(server)

    assert before["a"].last_error.startswith("The provider refused the server's credentials")
    assert (after["a"].last_error, provider.counts()["revoked"]) == ("", 1)
