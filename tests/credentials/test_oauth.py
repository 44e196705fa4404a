"""The protocol of OAuth logins, against a stand-in server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from loom_grpc.core.account import Tokens
from loom_grpc.core.errors import LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.oauth import OAuthApp, OAuthSettings, new_state, new_verifier
from tests.oauth_server import OAuthServer, browse, cut, oauth_server, refusal
from tests.stand_in import Connection, Script, answer, json_answer

NOW = 1_800_000_000.0
STATE = "0b6f8a52-7a4e-4c0a-9d7e-1f8d1a9b2c3d"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def app_of(server: OAuthServer, timeout_s: float = 30.0, **changes: Any) -> OAuthApp:
    """An operator's application at the stand-in."""
    settings: dict[str, Any] = {
        "authorize_url": server.authorize_url,
        "token_url": server.token_url,
        "client_id": server.client_id,
        "client_secret": (lambda: server.client_secret) if server.client_secret else None,
        "client_auth": "none",
        "redirect_uri": server.redirect_uri,
        "scopes": ("models:read", "models:ask"),
        "token_format": "form",
        "authorize_params": {},
        "token_headers": dict,
    }
    return OAuthApp("acme", OAuthSettings(**settings | changes), clock=lambda: NOW, timeout_s=timeout_s)


async def failure_of(work: Awaitable[object]) -> LlmError:
    with pytest.raises(LlmError) as caught:
        await work
    return caught.value


def told(error: LlmError) -> str:
    """Everything that an error says anywhere."""
    return (
        f"{error} {error!r} {error.message} {error.detail} {error.metadata} {error.__cause__!r} {error.__context__!r}"
    )


async def logged_in(server: OAuthServer, app: OAuthApp) -> tuple[Tokens, str]:
    verifier = new_verifier()
    code, state = await browse(app.authorize_url(STATE, verifier))
    return await app.exchange(code, state, verifier), verifier


async def test_the_authorize_page_s_address_has_all_that_the_protocol_wants() -> None:
    async with oauth_server() as server:
        verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
        params = {"prompt": "consent", "state": "another", "client_id": "another"}

        url = urlsplit(app_of(server, authorize_params=params).authorize_url(STATE, verifier))

        assert f"{url.scheme}://{url.netloc}{url.path}" == server.authorize_url
        assert parse_qs(url.query) == {
            "response_type": ["code"],
            "client_id": ["operator-app"],
            "redirect_uri": ["https://operator.example/callback"],
            "scope": ["models:read models:ask"],
            "state": [STATE],
            "code_challenge": ["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
            "code_challenge_method": ["S256"],
            "prompt": ["consent"],
        }


async def test_what_the_authorize_page_s_address_already_asks_for_is_kept() -> None:
    async with oauth_server() as server:
        app = app_of(server, authorize_url="https://acme.example/allow?tenant=a%20b&mode=", scopes=())

        asked = parse_qs(urlsplit(app.authorize_url(STATE, new_verifier())).query, keep_blank_values=True)

        assert (asked["tenant"], asked["mode"], "scope" in asked) == (["a b"], [""], False)


def test_states_are_uuids_and_verifiers_are_as_long_as_the_protocol_wants() -> None:
    assert (UUID(new_state()).version, new_state() == new_state()) == (4, False)
    assert (43 <= len(new_verifier()) <= 128, new_verifier() == new_verifier()) == (True, False)


@pytest.mark.parametrize(
    ("token_format", "media_type"), [("form", "application/x-www-form-urlencoded"), ("json", "application/json")]
)
async def test_a_login_gives_tokens(token_format: str, media_type: str) -> None:
    async with oauth_server(clock=lambda: NOW) as server:
        app = app_of(server, token_format=token_format, token_headers=lambda: {"X-App": "loom"})

        tokens, verifier = await logged_in(server, app)

        (asked,) = server.asked
        assert server.valid(tokens.access)
        assert (tokens.refresh.startswith("refresh-"), tokens.expires) == (True, NOW + 3600)
        assert (asked.media_type, asked.headers["x-app"], asked.headers["accept"]) == (
            media_type,
            "loom",
            "application/json",
        )
        assert asked.fields == {
            "grant_type": "authorization_code",
            "code": asked.fields["code"],
            "state": STATE,
            "client_id": "operator-app",
            "redirect_uri": "https://operator.example/callback",
            "code_verifier": verifier,
        }


@pytest.mark.parametrize("token_format", ["form", "json"])
async def test_a_refresh_gives_new_tokens(token_format: str) -> None:
    async with oauth_server(clock=lambda: NOW) as server:
        old = server.login()

        new = await app_of(server, token_format=token_format).refresh(old.refresh)

        assert server.asked[0].fields == {
            "grant_type": "refresh_token",
            "refresh_token": old.refresh,
            "client_id": "operator-app",
        }
        assert (server.valid(new.access), new.expires) == (True, NOW + 3600)
        assert len({old.access, new.access, old.refresh, new.refresh}) == 4


@pytest.mark.parametrize("token_format", ["form", "json"])
@pytest.mark.parametrize("client_auth", ["post", "basic"])
async def test_the_application_s_secret_is_shown_as_configured(client_auth: str, token_format: str) -> None:
    async with oauth_server() as server:
        server.client_secret = "s3cret/&=+ %"

        tokens, _ = await logged_in(server, app_of(server, client_auth=client_auth, token_format=token_format))

        (asked,) = server.asked
        assert server.valid(tokens.access)
        assert ("authorization" in asked.headers, "client_secret" in asked.fields) == (
            client_auth == "basic",
            client_auth == "post",
        )


async def test_a_refresh_token_is_kept_when_the_server_gives_no_new_one() -> None:
    async with oauth_server() as server:
        server.rotates = False
        old = server.login()

        new = await app_of(server).refresh(old.refresh)

        assert (new.refresh, new.access == old.access) == (old.refresh, False)


@pytest.mark.parametrize(
    ("expires_in", "expires"),
    [
        (60, NOW + 60),
        ("60", NOW + 60),
        (59.9, NOW + 59),
        (None, None),
        ("soon", None),
        (0, None),
        (-5, None),
        (1e300, None),
        ([], None),
    ],
)
async def test_an_end_that_makes_no_sense_loses_no_tokens(expires_in: object, expires: float | None) -> None:
    async with oauth_server() as server:
        server.always = json_answer({"access_token": "a1", "refresh_token": "r1", "expires_in": expires_in})

        assert await app_of(server).refresh("r0") == Tokens("a1", "r1", expires)


async def test_a_login_without_a_refresh_token_lasts_as_long_as_its_access_token() -> None:
    async with oauth_server() as server:
        server.always = json_answer({"access_token": "a1", "refresh_token": None})

        assert await app_of(server).exchange("c", STATE, "v") == Tokens("a1", "", None)


async def test_a_code_is_good_once_and_with_its_own_verifier_only() -> None:
    async with oauth_server() as server:
        app = app_of(server)
        code, state = await browse(app.authorize_url(STATE, new_verifier()))

        error = await failure_of(app.exchange(code, state, new_verifier()))
        again = await failure_of(app.exchange(code, state, new_verifier()))

        assert [error.reason, again.reason] == [LOGIN_EXCHANGE_FAILED] * 2
        assert (error.metadata, error.detail) == (
            {"provider_status": "400", "provider_code": "invalid_grant"},
            "The verifier does not fit.",
        )
        assert server.reused == [code]


async def trickle(connection: Connection) -> None:
    await connection.head(200, "application/json")
    while not connection.closed.is_set():
        await connection.send(" ")
        await asyncio.sleep(0.02)


async def half(connection: Connection) -> None:
    await connection.head(200, "application/json")
    await connection.send('{"access_token": "a1", ')
    connection.cut()


TOKENS: Mapping[str, object] = {"access_token": "a1", "refresh_token": "r1", "expires_in": 60}

FAILURES: list[tuple[Script, int, int]] = [
    (refusal("invalid_grant"), LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED),
    (refusal("invalid_grant", status=200), LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED),
    (refusal("invalid_client", status=400), LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED),
    (refusal("unauthorized_client"), LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED),
    (refusal("whatever", status=401), LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED),
    (answer("<html>no</html>", status=403, content_type="text/html"), LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED),
    (refusal("invalid_request"), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (answer("not here", status=404), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (json_answer(TOKENS, status=302, location="http://127.0.0.1:1/"), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (answer("not json"), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (answer(b"\xff\xfe"), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (answer("[" * 50_000), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (json_answer([]), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (json_answer({"error": {"type": "invalid_grant"}}), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (json_answer({"access_token": ""}), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (json_answer({"access_token": "two\nlines"}), LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE),
    (refusal("invalid_grant", status=429), PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
    (refusal("invalid_grant", status=500), PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
    (answer("<html>", status=503, content_type="text/html"), PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
    (cut, PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
    (half, PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
    (trickle, PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
    (answer("x" * 300_000), PROVIDER_UNAVAILABLE, PROVIDER_UNAVAILABLE),
]


@pytest.mark.parametrize(("script", "of_exchange", "of_refresh"), FAILURES)
async def test_a_failure_means_what_its_status_and_its_code_say(
    script: Script, of_exchange: int, of_refresh: int
) -> None:
    async with oauth_server() as server:
        server.always = script
        app = app_of(server, timeout_s=1)

        errors = [await failure_of(app.exchange("c", STATE, "v")), await failure_of(app.refresh("r"))]

        assert [error.reason for error in errors] == [of_exchange, of_refresh]
        assert len(server.asked) == 2


async def test_a_server_that_does_not_answer_is_a_passing_failure() -> None:
    async with oauth_server() as server:
        server.go_on.clear()

        error = await failure_of(app_of(server, timeout_s=0.3).refresh("r"))

        assert (error.reason, error.metadata) == (PROVIDER_UNAVAILABLE, {})


async def test_a_server_that_hangs_keeps_nothing_else_waiting() -> None:
    """Files, secrets and other providers are read in the event loop's own threads, of which there are few."""
    async with oauth_server() as server:
        server.go_on.clear()
        app = app_of(server)
        refreshes = [asyncio.create_task(app.refresh(server.login().refresh)) for _ in range(40)]
        await server.arrived.wait()
        async with asyncio.timeout(5):
            await asyncio.to_thread(lambda: None)
        server.go_on.set()
        tokens = await asyncio.gather(*refreshes)

    assert (len({one.access for one in tokens}), server.refreshes) == (40, 40)


async def test_a_server_that_is_not_there_is_a_passing_failure() -> None:
    async with oauth_server() as server:
        app = app_of(server)

    error = await failure_of(app.refresh("r"))

    assert error.reason == PROVIDER_UNAVAILABLE
    assert error.message == "The token server of acme cannot be reached or is out of order; try again later."
    assert "refused" in error.detail


async def test_a_login_that_nothing_is_configured_for_is_the_operator_s_matter() -> None:
    async with oauth_server() as server:
        error = await failure_of(app_of(server, token_url="").refresh("r"))

    assert error.reason == PROVIDER_AUTH_FAILED
    assert (
        error.message == "The account's login has ended and is not renewed; the operator must set providers.acme.oauth."
    )


@pytest.mark.parametrize("changes", [{"token_url": "nonsense"}, {"token_headers": lambda: {"x-a": "line\nbreak-4711"}}])
async def test_a_configuration_that_cannot_work_repeats_nothing_of_it(changes: Mapping[str, Any]) -> None:
    async with oauth_server() as server:
        error = await failure_of(app_of(server, **changes).refresh("r"))

        assert error.reason == PROVIDER_UNAVAILABLE
        assert "4711" not in told(error)


Ask = Callable[[OAuthApp], Awaitable[object]]


@pytest.mark.parametrize(
    ("ask", "shown"),
    [
        (lambda app: app.refresh("the-refresh-token"), ["the-refresh-token"]),
        (lambda app: app.exchange("the-code", STATE, "the-verifier"), ["the-code", "the-verifier"]),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 500])
async def test_a_server_that_repeats_secrets_does_not_get_them_into_errors(
    ask: Ask, shown: list[str], status: int
) -> None:
    async with oauth_server() as server:
        server.client_secret = "the-client-secret"
        words = f"no:\n {' '.join(shown)} the-client-secret another-7c1f0e9d8b7a0000" + 500 * " x"
        server.always = json_answer({"error": shown[0], "error_description": words}, status=status)

        error = await failure_of(ask(app_of(server, client_auth="post")))

        secrets = [*shown, "the-client-secret", "7c1f0e9d8b7a"]
        assert [secret for secret in secrets if secret in told(error)] == []
        assert error.metadata == {"provider_status": str(status)}
        assert (error.detail.startswith("no:  [REDACTED]"), len(error.detail)) == (True, 300)


async def test_nothing_secret_is_shown_by_the_application() -> None:
    async with oauth_server() as server:
        server.client_secret = "the-client-secret"
        settings = OAuthSettings(
            authorize_url="",
            token_url="",
            client_id="operator-app",
            client_secret=lambda: "the-client-secret",
            client_auth="post",
            redirect_uri="",
            scopes=(),
            token_format="form",
            authorize_params={},
            token_headers=lambda: {"x-key": "the-header"},
        )

        assert repr(OAuthApp("acme", settings)) == "OAuthApp(acme)"
        assert "client_secret" not in repr(settings)
        assert "token_headers" not in repr(settings)


async def test_authlib_and_requests_are_not_loaded_before_they_are_wanted() -> None:
    program = (
        "import sys; import loom_grpc.credentials.oauth_account;"
        " print([name for name in ('authlib', 'requests', 'cryptography') if name in sys.modules])"
    )

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert output == b"[]\n"
