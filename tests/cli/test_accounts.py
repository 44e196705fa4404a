"""`loom-grpc accounts` as a process of its own, at a server that the tests write."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from loom_grpc.cli.accounts import code_of
from loom_grpc.cli.output import UsageError, span
from loom_grpc.client import LlmError
from loom_grpc.core.errors import LOGIN_EXCHANGE_FAILED
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
    AddAccountRequest,
    AddAccountResponse,
    DisableAccountRequest,
    DisableAccountResponse,
    EnableAccountRequest,
    EnableAccountResponse,
    FinishLoginRequest,
    FinishLoginResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    RemoveAccountRequest,
    RemoveAccountResponse,
    StartLoginRequest,
    StartLoginResponse,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server
from tests.oauth_server import OAuthServer, browse, oauth_server
from tests.program import Result, at_terminal, run, served
from tests.scripted import Context, aborts, answers

KEY = "sk-of-the-provider"
STATE = "the-state"
PAGE = f"https://login.test/authorize?client_id=x&state={STATE}"
ADMIN = {"LOOM_ADMIN_KEY": "la_Qx8vT2mZp4Kd9Rw3Ys7Bn5Jc"}


class Script(AdminServiceServicer):
    """Does in each method what a test says, and keeps what came in."""

    def __init__(self) -> None:
        self.target = ""
        self.plays: list[Callable[[Any, Context], Any]] = []
        """What to do, call by call."""
        self.requests: list[Any] = []
        self.keys: list[Any] = []

    async def run(self, request: Any, context: Context) -> Any:
        self.requests.append(request)
        self.keys.append(dict(context.invocation_metadata() or ()).get("authorization"))
        return await self.plays.pop(0)(request, context)

    ListAccounts = AddAccount = RemoveAccount = EnableAccount = DisableAccount = run
    StartLogin = FinishLogin = WatchHealth = ReloadConfig = run  # type: ignore[assignment]

    def answers(self, *responses: Any) -> None:
        """Lets the next calls have these answers."""
        self.plays += [answers(response) for response in responses]


@pytest.fixture
async def server() -> AsyncIterator[Script]:
    script = Script()  # type: ignore[abstract]  # no test here asks for what is left out
    server = grpc.aio.server()
    add_AdminServiceServicer_to_server(script, server)
    script.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield script
    await server.stop(None)


def refuses(code: grpc.StatusCode, reason: str, message: str) -> Callable[[Any, Context], Any]:
    return aborts(code, message, error_details_pb2.ErrorInfo(reason=reason, domain="loom-grpc"))


def work(**fields: Any) -> Account:
    return Account(provider="openai", id="work", kind=ACCOUNT_KIND_API_KEY, status=ACCOUNT_STATUS_AVAILABLE, **fields)


def waiting(seconds: float) -> Account:
    account = Account(
        provider="anthropic", id="team", kind=ACCOUNT_KIND_OAUTH, status=ACCOUNT_STATUS_COOLING_DOWN, errors=2,
        last_error="The provider account's quota or balance is used up (429, rate_limit_error)",
    )  # fmt: skip
    now = int(time.time())
    account.cooling_until.FromSeconds(now + int(seconds))
    account.last_error_time.FromSeconds(now)
    return account


async def test_accounts_are_a_table(server: Script, tmp_path: Path) -> None:
    off = Account(provider="zai", id="o\x1bld", kind=9, status=ACCOUNT_STATUS_DISABLED, disabled_by_operator=True)  # type: ignore[arg-type]
    busy = work(requests=1204, errors=3, input_tokens=1000, output_tokens=234)
    server.answers(ListAccountsResponse(accounts=[busy, waiting(4331), off]))

    result = await run("accounts", "list", "--target", server.target, env=ADMIN | {"TZ": "UTC"}, cwd=tmp_path)

    assert (result.code, result.err) == (0, "")
    clock = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d"
    head, first, second, third = result.out.splitlines()
    assert head == "PROVIDER   ID    KIND     STATUS        REQUESTS  ERRORS  TOKENS  NOTE"
    assert first == "openai     work  api_key  available         1204       3    1234"
    assert re.fullmatch(
        r"anthropic  team  oauth    cooling down         0       2       0  "
        rf"cooling until {clock} \(in 1 h 1[12] min\); last error at {clock}: "
        r"The provider account's quota or balance is used up \(429, rate_limit_error\)",
        second,
    )
    assert third == "zai        o\ufffdld  9        disabled             0       0       0  disabled by an operator"
    assert server.requests == [ListAccountsRequest(page_size=1000)]
    assert server.keys == ["Bearer la_Qx8vT2mZp4Kd9Rw3Ys7Bn5Jc"]


async def test_accounts_as_json(server: Script, tmp_path: Path) -> None:
    account = work(requests=2, configured=True)
    account.token_expire_time.FromJsonString("2026-11-21T14:05:00Z")
    server.answers(ListAccountsResponse(accounts=[account]))

    result = await run("accounts", "list", "-p", "openai", "--json", "--target", server.target, env=ADMIN, cwd=tmp_path)

    assert json.loads(result.out) == [
        {
            "provider": "openai",
            "id": "work",
            "kind": "api_key",
            "configured": True,
            "status": "available",
            "disabled_by_operator": False,
            "cooling_until": None,
            "last_error": "",
            "last_error_time": None,
            "token_expire_time": "2026-11-21T14:05:00Z",
            "requests": 2,
            "errors": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "calls_in_flight": 0,
        }
    ]
    assert server.requests == [ListAccountsRequest(provider="openai", page_size=1000)]


async def test_no_accounts_are_said_to_be_none(server: Script, tmp_path: Path) -> None:
    server.answers(ListAccountsResponse())

    result = await run("accounts", "list", "--json", "--target", server.target, env=ADMIN, cwd=tmp_path)

    assert (result.code, result.out) == (0, "[]\n")
    assert result.err.startswith("there are no accounts; ")


async def test_a_key_is_read_from_standard_input(server: Script, tmp_path: Path) -> None:
    server.answers(AddAccountResponse(account=work()))

    words = ("accounts", "add", "work", "-p", "openai", "--target", server.target)
    result = await run(*words, stdin=f"{KEY}\n".encode(), env=ADMIN, cwd=tmp_path)

    assert result == Result(0, "added openai/work\n", "")
    assert server.requests == [AddAccountRequest(provider="openai", id="work", api_key=KEY)]


async def test_a_key_that_is_typed_is_not_shown(server: Script, tmp_path: Path) -> None:
    server.answers(AddAccountResponse(account=work()))

    words = ("accounts", "add", "-p", "openai", "--target", server.target)
    async with at_terminal(*words, env=ADMIN, cwd=tmp_path) as terminal:
        await terminal.until("(it is not shown): ")
        terminal.type(f"{KEY}\n")
        code = await terminal.ends()

    assert code == 0
    assert terminal.seen.endswith("added openai/work\n")
    assert KEY not in terminal.seen
    assert server.requests == [AddAccountRequest(provider="openai", api_key=KEY)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "key: is empty"),
        (b" \n", "key: is empty"),
        (b"sk-one\nsk-two\n", "key: must be one line of printable ASCII without spaces"),
        (b"sk-\xff", "key: must be one line of printable ASCII without spaces"),
    ],
)
async def test_what_is_no_key_is_not_sent_and_not_repeated(
    server: Script, tmp_path: Path, given: bytes, message: str
) -> None:
    words = ("accounts", "add", "-p", "openai", "--target", server.target)
    result = await run(*words, stdin=given, env=ADMIN, cwd=tmp_path)

    assert result == Result(2, "", f"error: {message}\n")
    assert server.requests == []


async def test_accounts_are_removed_enabled_and_disabled(server: Script, tmp_path: Path) -> None:
    server.answers(
        RemoveAccountResponse(), EnableAccountResponse(account=work()), DisableAccountResponse(account=work())
    )
    rest = ("work", "-p", "openai", "--target", server.target)

    results = [
        await run("accounts", action, *rest, env=ADMIN, cwd=tmp_path) for action in ("remove", "enable", "disable")
    ]

    assert results == [
        Result(0, "removed openai/work; its key or login is forgotten\n", ""),
        Result(0, "enabled openai/work\n", ""),
        Result(0, "disabled openai/work\n", ""),
    ]
    assert server.requests == [
        RemoveAccountRequest(provider="openai", id="work"),
        EnableAccountRequest(provider="openai", id="work"),
        DisableAccountRequest(provider="openai", id="work"),
    ]


async def test_a_login_shows_the_page_and_takes_the_code(server: Script, tmp_path: Path) -> None:
    started = StartLoginResponse(authorize_url=PAGE, state=STATE)
    started.expire_time.GetCurrentTime()
    server.answers(started, FinishLoginResponse(account=work()))

    words = ("accounts", "login", "work", "-p", "openai", "--target", server.target)
    result = await run(*words, stdin=f"the-code#{STATE}\n".encode(), env=ADMIN, cwd=tmp_path)

    assert (result.code, result.out) == (0, f"{PAGE}\nlogged in: openai/work\n")
    assert "providers.openai.oauth" in result.err
    assert server.requests == [
        StartLoginRequest(provider="openai", account_id="work"),
        FinishLoginRequest(provider="openai", code="the-code", state=STATE),
    ]


async def test_at_a_terminal_a_wrong_paste_is_asked_for_again(server: Script, tmp_path: Path) -> None:
    server.answers(StartLoginResponse(authorize_url=PAGE, state=STATE), FinishLoginResponse(account=work()))
    long = "c" * 5000

    words = ("accounts", "login", "-p", "openai", "--target", server.target)
    async with at_terminal(*words, env=ADMIN, cwd=tmp_path) as terminal:
        await terminal.until("> ")
        terminal.type("https://app.test/callback?code=1&state=another\n")
        await terminal.until("error: code: belongs to another login; use the page above")
        await terminal.until("\n> ", 2)
        terminal.type(f"https://app.test/callback?code={long}&state={STATE}\n")
        code = await terminal.ends()

    assert code == 0
    assert server.requests[-1] == FinishLoginRequest(provider="openai", code=long, state=STATE)


async def test_a_login_that_is_left_ends_quietly(server: Script, tmp_path: Path) -> None:
    server.answers(StartLoginResponse(authorize_url=PAGE, state=STATE))

    words = ("accounts", "login", "-p", "openai", "--target", server.target)
    async with at_terminal(*words, env=ADMIN, cwd=tmp_path) as terminal:
        await terminal.until("> ")
        await terminal.waits()
        terminal.type("\x03")
        code = await terminal.ends()

    assert code == 130
    assert terminal.seen.endswith("cancelled\n")


@pytest.mark.parametrize(
    ("pasted", "code", "message"),
    [
        ("", 2, "code: is empty"),
        ("the-code#another\n", 2, "code: belongs to another login; use the page above"),
        (
            f"https://app.test/?error=access_denied&error_description=No+thanks&state={STATE}\n",
            1,
            "The provider refused the login (access_denied: No thanks); start a new login (LOGIN_EXCHANGE_FAILED)",
        ),
    ],
)
async def test_a_login_that_gives_no_code_is_not_finished(
    server: Script, tmp_path: Path, pasted: str, code: int, message: str
) -> None:
    server.answers(StartLoginResponse(authorize_url=PAGE, state=STATE))

    words = ("accounts", "login", "-p", "openai", "--target", server.target)
    result = await run(*words, stdin=pasted.encode(), env=ADMIN, cwd=tmp_path)

    assert (result.code, result.err.splitlines()[-1]) == (code, f"error: {message}")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "pasted",
    [
        "4/0Ab-c_d",
        f" 4/0Ab-c_d#{STATE} ",
        f"http://127.0.0.1:9/callback?code=4/0Ab-c_d&state={STATE}",
        f"http://127.0.0.1:9/callback?state={STATE}&code=4%2F0Ab-c_d&scope=a+b",
        f"http://127.0.0.1:9/callback#code=4/0Ab-c_d&state={STATE}",
        f"app:/callback?code=4/0Ab-c_d&state={STATE}",
    ],
)
def test_the_code_is_found_however_it_is_pasted(pasted: str) -> None:
    assert code_of(pasted, STATE) == "4/0Ab-c_d"


@pytest.mark.parametrize(
    "pasted",
    [
        "two words",
        "caf\xe9",
        f"#{STATE}",
        "https://app.test/?code=1",
        "https://app.test/?code=1&state=",
        f"https://app.test/?state={STATE}",
        f"https://app.test/?code=&state={STATE}",
        "https://[app/?code=1",
        "https://app.test/?error=access_denied&state=another",
    ],
)
def test_what_is_no_code_of_this_login_is_refused(pasted: str) -> None:
    with pytest.raises(UsageError, match=r"^code: "):
        code_of(pasted, STATE)


def test_a_refused_login_says_so() -> None:
    with pytest.raises(LlmError) as caught:
        code_of(f"https://app.test/?error=access_denied&state={STATE}", STATE)

    assert caught.value.reason == LOGIN_EXCHANGE_FAILED


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "1 h"),
        (4331, "1 h 12 min"),
        (7200, "2 h"),
        (90000, "1 d 1 h"),
        (2678400, "31 d"),
    ],
)
def test_time_spans_are_short(seconds: float, words: str) -> None:
    assert span(seconds) == words


async def test_without_an_admin_key_one_line_says_where_it_goes(server: Script, tmp_path: Path) -> None:
    message = "Administration needs the server's admin key as bearer token."
    server.plays = [refuses(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", message)]

    result = await run("accounts", "list", "--target", server.target, cwd=tmp_path)

    advice = "set LOOM_ADMIN_KEY to the admin key of this server"
    assert result == Result(1, "", f"error: {message[:-1]}; {advice} (UNAUTHENTICATED)\n")
    assert server.keys == [None]


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"LOOM_API_KEY": "a"}, "Bearer a"),
        ({"LOOM_ADMIN_KEY": " ", "LOOM_API_KEY": "a"}, "Bearer a"),
        ({"LOOM_ADMIN_KEY": "b\n", "LOOM_API_KEY": "a"}, "Bearer b"),
    ],
)
async def test_the_admin_key_comes_first(server: Script, tmp_path: Path, env: dict[str, str], key: str) -> None:
    server.answers(ListAccountsResponse())

    await run("accounts", "list", "--target", server.target, env=env, cwd=tmp_path)

    assert server.keys == [key]


async def test_an_admin_key_that_cannot_be_sent_is_not_repeated(tmp_path: Path) -> None:
    result = await run("accounts", "list", env={"LOOM_ADMIN_KEY": "clé secrète"}, cwd=tmp_path)

    assert result == Result(2, "", "error: LOOM_ADMIN_KEY: must be printable ASCII without spaces\n")


async def test_what_the_server_refuses_is_one_line(server: Script, tmp_path: Path) -> None:
    message = "id: openai has an account work already; choose another id, or remove that one."
    server.plays = [refuses(grpc.StatusCode.ALREADY_EXISTS, "ACCOUNT_EXISTS", message)]

    words = ("accounts", "add", "work", "-p", "openai", "--target", server.target)
    result = await run(*words, stdin=KEY.encode(), env=ADMIN, cwd=tmp_path)

    assert result == Result(1, "", f"error: {message[:-1]} (ACCOUNT_EXISTS)\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: action; see loom-grpc accounts --help"),
        (("show",), "argument action: invalid choice: 'show' (choose from"),
        (("remove", "-p", "openai"), "the following arguments are required: id; see loom-grpc accounts remove --help"),
        (("remove", "work"), "the following arguments are required: -p/--provider; see"),
        (("list", "work"), "unrecognized arguments: "),
    ],
)
async def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = await run("accounts", *words, cwd=tmp_path)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


@pytest.fixture
async def login() -> AsyncIterator[OAuthServer]:
    async with oauth_server() as server:
        yield server


async def test_accounts_of_a_running_server_are_administered(login: OAuthServer, tmp_path: Path) -> None:
    """From an empty store to accounts that outlast the server."""
    oauth = {key: getattr(login, key) for key in ("authorize_url", "token_url", "client_id", "redirect_uri")}
    openai = {"base_url": login.url, "accounts": {"a": {"api_key": "sk-a"}}, "oauth": oauth}
    config = {"providers": {"openai": openai}, "credentials": {"file": str(tmp_path / "accounts.json")}}
    (tmp_path / "loom.yaml").write_text(json.dumps(config))
    serve = ("serve", "--no-http", "--grpc-address", "127.0.0.1:0")

    with served(*serve, env=ADMIN, cwd=tmp_path) as server:

        async def accounts(*words: str, stdin: bytes = b"", env: Mapping[str, str] = ADMIN) -> Result:
            return await run("accounts", *words, "--target", server.grpc_address, stdin=stdin, env=env, cwd=tmp_path)

        assert await accounts("add", "b", "-p", "openai", stdin=KEY.encode()) == Result(0, "added openai/b\n", "")
        assert (await accounts("add", "b", "-p", "openai", stdin=KEY.encode())).code == 1
        assert await accounts("disable", "a", "-p", "openai") == Result(0, "disabled openai/a\n", "")
        assert (await accounts("remove", "a", "-p", "openai")).code == 1
        assert (await accounts("list", env={"LOOM_ADMIN_KEY": "wrong"})).code == 1

        words = ("accounts", "login", "c", "-p", "openai", "--target", server.grpc_address)
        async with at_terminal(*words, env=ADMIN, cwd=tmp_path) as terminal:
            await terminal.until("> ")
            page = re.search(rf"{re.escape(login.authorize_url)}\S+", terminal.seen)
            assert page
            code, state = await browse(page[0])
            terminal.type(f"{login.redirect_uri}?code={code}&state={state}\n")
            assert await terminal.ends() == 0
        assert terminal.seen.endswith("logged in: openai/c\n")

    with served(*serve, env=ADMIN, cwd=tmp_path) as server:
        listed = json.loads((await accounts("list", "--json")).out)
        assert [(account["id"], account["kind"], account["status"]) for account in listed] == [
            ("a", "api_key", "disabled"),
            ("b", "api_key", "available"),
            ("c", "oauth", "available"),
        ]
        assert (await accounts("remove", "b", "-p", "openai")).out.startswith("removed openai/b;")
        server.log.seek(0)
        assert KEY not in server.log.read()
