"""Fetching secrets, noticing that they have changed, and keeping them to ourselves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.config import ConfigError
from loom_grpc.credentials.secret import Secret, Secrets, resolve


def test_a_secret_shows_itself_only_on_request() -> None:
    secret = Secret.literal("sk-abc")

    assert (repr(secret), str(secret), f"{secret}", f"{[secret]}") == ("[REDACTED]",) * 3 + ("[[REDACTED]]",)
    assert (secret.known, secret.reveal()) == (True, "sk-abc")


def test_a_secret_comes_from_the_environment_a_file_or_the_reference(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"sk-file\r\n\n")
    environ = {"KEY": "sk-env"}

    found = [resolve(reference, environ).reveal() for reference in ("env:KEY", f"file:{file}", "sk-literal", "a:b")]

    assert found == ["sk-env", "sk-file", "sk-literal", "a:b"]


def test_a_variable_may_hold_what_looks_like_a_reference() -> None:
    assert resolve("env:KEY", {"KEY": "file:/nowhere"}).reveal() == "file:/nowhere"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:NO_KEY", "the environment variable NO_KEY is not set or empty"),
        ("env:EMPTY", "the environment variable EMPTY is not set or empty"),
        ("env:", "must have the name of an environment variable after env:"),
        ("env:sk-abc", "must have the name of an environment variable after env:"),
        ("vault:kv/x", "must have mount/path#field after vault:, such as vault:secret/openai#api_key"),
        ("file:", "must have the path of a file after file:"),
        ("file:{}/none", "cannot read the file {}/none: No such file or directory"),
        ("file:{}", "cannot read the file {}: Is a directory"),
        ("file:{}/empty", "the file {}/empty is not set or empty"),
        ("file:{}/binary", "the file {}/binary is not text"),
        ("file:{}/large", "the file {}/large is too large for a secret"),
        ("", "the secret is not set or empty"),
        (
            "env:BROKEN",
            (
                "the environment variable BROKEN has line breaks, control characters or letters beyond ASCII, "
                "which no header can carry"
            ),
        ),
        (
            "file:{}/lines",
            "the file {}/lines has line breaks, control characters or letters beyond ASCII, which no header can carry",
        ),
    ],
)
def test_a_secret_that_cannot_be_had_gets_one_line_with_its_key(tmp_path: Path, reference: str, expected: str) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"k" * 70_000)
    (tmp_path / "lines").write_bytes(b"sk-1\nsk-2\n")
    environ = {"EMPTY": "", "BROKEN": "sk-abc\r\nx-evil: 1"}

    with pytest.raises(ConfigError) as caught:
        resolve(reference.replace("{}", str(tmp_path)), environ, key="providers.a.api_key")

    assert str(caught.value) == f"providers.a.api_key: {expected.replace('{}', str(tmp_path))}"


@given(text=st.text(min_size=11))
def test_any_text_is_either_kept_whole_or_refused_without_repeating_it(text: str) -> None:
    if text.isascii() and text.isprintable():
        secret = resolve("env:KEY", {"KEY": text})

        assert (secret.reveal(), repr(secret)) == (text, "[REDACTED]")
    else:
        with pytest.raises(ConfigError) as caught:
            resolve("env:KEY", {"KEY": text})

        assert text not in repr(caught.value)


def test_what_is_in_vault_cannot_be_had_only_at_the_start() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("vault:kv/x#key", {}, key="telemetry.otlp_headers.a")

    assert str(caught.value) == (
        "telemetry.otlp_headers.a: cannot be in Vault, because it is read only at the start; use env:NAME or file:/path"
    )


class Told:
    """What the secrets tell the log."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.troubles: list[tuple[str, str]] = []
        self.rotations: list[str] = []
        self._changed = asyncio.Event()

    def text(self, text: str) -> None:
        self.texts.append(text)

    def trouble(self, key: str, message: str) -> None:
        self.troubles.append((key, message))
        self._changed.set()

    def rotation(self, key: str) -> None:
        self.rotations.append(key)
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits for something that the secrets tell of."""
        async with asyncio.timeout(10):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(told: Told, environ: dict[str, str] | None = None) -> AsyncIterator[Secrets]:
    secrets = Secrets(environ or {}, on_text=told.text, on_trouble=told.trouble, on_rotation=told.rotation)
    try:
        yield secrets
    finally:
        await secrets.close()


def mount(volume: Path, version: str, key: str) -> None:
    """Writes a secret's files as the kubelet does: into a new folder, to which a link is turned at once."""
    folder = volume / f"..{version}"
    folder.mkdir(parents=True)
    (folder / "key").write_text(key)
    link = volume / "..data_tmp"
    link.symlink_to(folder.name)
    link.rename(volume / "..data")
    if not (volume / "key").is_symlink():
        (volume / "key").symlink_to("..data/key")


async def test_a_secret_mounted_by_kubernetes_is_in_use_soon_after_it_was_replaced(tmp_path: Path) -> None:
    told = Told()
    mount(tmp_path, "one", "sk-1")
    async with running(told) as secrets:
        secret = secrets.find(f"file:{tmp_path}/key", "providers.a.api_key")
        watched: list[str] = []
        secret.watch(lambda: watched.append(secret.reveal()))
        await secrets.start()

        began = time.monotonic()
        mount(tmp_path, "two", "sk-2")
        await told.until(lambda: bool(told.rotations))

        assert time.monotonic() - began < 5
        assert (secret.reveal(), watched) == ("sk-2", ["sk-2"])
        assert (told.texts, told.troubles, told.rotations) == (["sk-1", "sk-2"], [], ["providers.a.api_key"])


async def test_a_text_that_comes_again_is_no_change(tmp_path: Path) -> None:
    told = Told()
    mount(tmp_path, "one", "sk-1")
    async with running(told) as secrets:
        secret = secrets.find(f"file:{tmp_path}/key", "k")

        mount(tmp_path, "two", "sk-1")

        assert await secret.renew() is False
        assert told.rotations == []


async def test_a_change_of_the_same_length_within_a_moment_of_the_start_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    async with running(Told()) as secrets:
        secret = secrets.find(f"file:{file}", "k")
        times = file.stat().st_mtime_ns

        file.write_text("sk-2")
        os.utime(file, ns=(times, times))

        assert (await secret.renew(), secret.reveal()) == (True, "sk-2")


async def test_a_file_that_is_being_written_does_not_count_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    rest = ["sk-2-", "sk-2-whole"]
    monkeypatch.setattr(time, "sleep", lambda _: file.write_text(rest.pop(0)) if rest else None)
    async with running(Told()) as secrets:
        secret = secrets.find(f"file:{file}", "k")
        file.write_text("sk-")

        assert (await secret.renew(), secret.reveal()) == (True, "sk-2-whole")


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (Path.unlink, "cannot read the file {}: No such file or directory"),
        (lambda file: file.write_text(""), "the file {} is not set or empty"),
        (lambda file: file.write_bytes(b"\xff"), "the file {} is not text"),
        (
            lambda file: file.write_text("two\nlines"),
            "the file {} has line breaks, control characters or letters beyond ASCII, which no header can carry",
        ),
    ],
)
async def test_an_unusable_file_leaves_the_old_text_in_use_and_is_told_once(
    tmp_path: Path, spoil: Callable[[Path], object], trouble: str
) -> None:
    told = Told()
    file = tmp_path / "key"
    file.write_text("sk-1")
    async with running(told) as secrets:
        secret = secrets.find(f"file:{file}", "providers.a.api_key")
        spoil(file)

        changed = [await secret.renew(), await secret.renew()]

        message = f"{trouble.format(file)}; what was read before stays in use"
        assert (changed, secret.reveal()) == ([False, False], "sk-1")
        assert told.troubles == [("providers.a.api_key", message)]

        file.write_text("sk-2")
        await secret.renew()
        spoil(file)
        await secret.renew()

        assert (secret.reveal(), told.rotations) == ("sk-2", ["providers.a.api_key"])
        assert told.troubles == [("providers.a.api_key", message)] * 2


async def test_all_that_ask_at_one_time_share_one_look_and_one_may_go(tmp_path: Path) -> None:
    told = Told()
    file = tmp_path / "key"
    file.write_text("sk-1")
    async with running(told) as secrets:
        secret = secrets.find(f"file:{file}", "k")
        file.write_text("sk-2")
        renewals = [asyncio.create_task(secret.renew()) for _ in range(50)]
        await asyncio.sleep(0)

        renewals[0].cancel()
        outcomes = await asyncio.gather(*renewals, return_exceptions=True)

        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert (outcomes[1:], told.rotations) == ([True] * 49, ["k"])


async def test_one_reference_is_one_secret_and_its_keys_are_told(tmp_path: Path) -> None:
    told = Told()
    file = tmp_path / "key"
    file.write_text("sk-1")
    async with running(told) as secrets:
        one = secrets.find(f"file:{file}", "providers.a.api_key")
        two = secrets.find(f"file:{file}", "providers.b.api_key")
        file.write_text("sk-2")

        await two.renew()

        assert one is two
        assert told.rotations == ["providers.a.api_key, providers.b.api_key"]


async def test_a_watcher_that_fails_does_not_end_the_watching(tmp_path: Path) -> None:
    told = Told()
    file = tmp_path / "key"
    file.write_text("sk-1")
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["message"]))
    async with running(told) as secrets:
        secret = secrets.find(f"file:{file}", "k")
        secret.watch(lambda: 1 / 0)

        file.write_text("sk-2")
        await secret.renew()
        file.write_text("sk-3")
        await secret.renew()

        assert (secret.reveal(), problems) == ("sk-3", ["A secret's change could not be taken in."] * 2)


async def test_variables_and_texts_never_change() -> None:
    told = Told()
    async with running(told, {"KEY": "sk-env"}) as secrets:
        found = [secrets.find("env:KEY", "a"), secrets.find("sk-literal", "b")]

        assert [await secret.renew() for secret in found] == [False, False]
        assert [secret.reveal() for secret in found] == told.texts == ["sk-env", "sk-literal"]


@pytest.mark.parametrize("reference", ["env:NONE", "file:/nowhere", "", "vault:kv/x"])
async def test_a_secret_that_is_missing_at_the_start_is_an_error_of_the_configuration(reference: str) -> None:
    with pytest.raises(ConfigError, match=r"^providers\.a\.api_key: "):
        Secrets({}).find(reference, "providers.a.api_key")


def test_a_secret_that_no_reference_means_any_more_is_read_anew_when_one_does_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    secrets = Secrets({})
    reference = f"file:{file}"
    before = secrets.find(reference, "key")
    file.write_text("second")

    secrets.retain({reference})
    assert secrets.find(reference, "key") is before
    secrets.retain(())
    assert (before.reveal(), secrets.find(reference, "key").reveal()) == ("first", "second")


def test_whoever_no_longer_watches_a_secret_is_not_told() -> None:
    secret = Secret.literal("old")
    told: list[str] = []
    forget = secret.watch(lambda: told.append("first"))
    secret.watch(lambda: told.append("second"))
    forget()
    secret.replace("new")

    assert told == ["second"]
