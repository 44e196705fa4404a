"""What the server says of itself, for every way to configure it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loom_grpc.cli.banner import banner, command_name
from loom_grpc.config import Config, Loaded

TLS = {"cert_file": "c.pem", "key_file": "k.pem"}
MUTUAL = TLS | {"client_ca_file": "ca.pem"}


def lines(config: dict[str, Any], grpc: str = "127.0.0.1:50051", http: str = "127.0.0.1:8080") -> list[str]:
    text = banner(Loaded(Config.model_validate(config), {}), None, grpc, http, command="loom-grpc")
    return [line.strip() for line in text.splitlines()]


def test_usual_addresses_need_no_flags() -> None:
    grpc_body = '{"messages":[{"role":"ROLE_USER","content":"Say hello"}]}'
    http_body = '{"model":"default","messages":[{"role":"user","content":"Say hello"}],"tools":[]}'
    url = "http://127.0.0.1:8080/proxy/mock/stream"
    assert lines({"providers": {"mock": {}}})[-3:] == [
        f"grpcurl -plaintext -d '{grpc_body}' 127.0.0.1:50051 loom_grpc.v1.LlmService/Stream",
        f"curl -N {url} -H 'content-type: application/json' -d '{http_body}'",
        "loom-grpc chat 'Say hello'",
    ]


def test_where_callers_show_keys_the_lines_make_one_and_show_it() -> None:
    make, grpcurl, curl, chat = lines({"providers": {"mock": {}}, "access": {"enabled": True}}, grpc="127.0.0.1:1")[-4:]

    assert make == (
        "export LOOM_API_KEY=$(loom-grpc keys create --target 127.0.0.1:1)  # with the admin key in LOOM_ADMIN_KEY"
    )
    assert grpcurl.startswith('grpcurl -H "authorization: Bearer $LOOM_API_KEY" -plaintext -d ')
    assert curl.endswith(' -H "authorization: Bearer $LOOM_API_KEY"')
    assert chat == "loom-grpc chat 'Say hello' --target 127.0.0.1:1"


def test_addresses_of_every_interface_are_tried_at_this_machine() -> None:
    shown = lines({"providers": {"mock": {}}}, grpc="0.0.0.0:1", http="[::]:2")

    assert "gRPC       0.0.0.0:1" in shown
    assert " 127.0.0.1:1 " in shown[-3]
    assert " 'http://[::1]:2/proxy/mock/stream' " in shown[-2]
    assert shown[-1] == "loom-grpc chat 'Say hello' --target 127.0.0.1:1"


def test_unix_sockets_are_tried_as_such() -> None:
    shown = lines({"providers": {"mock": {}}}, grpc="unix:/run/g.sock", http="unix:/run/h.sock")

    assert shown[-3].endswith(" -unix /run/g.sock loom_grpc.v1.LlmService/Stream")
    assert shown[-2].startswith("curl -N --unix-socket /run/h.sock http://localhost/proxy/mock/stream ")
    assert shown[-1] == "loom-grpc chat 'Say hello' --target unix:/run/g.sock"


@pytest.mark.parametrize(
    ("tls", "grpcurl", "curl", "chat", "words"),
    [
        (TLS, "-cacert CA.pem", "--cacert CA.pem", "--ca-file CA.pem", " (TLS)"),
        (
            MUTUAL,
            "-cacert CA.pem -cert CERT.pem -key KEY.pem",
            "--cacert CA.pem --cert CERT.pem --key KEY.pem",
            "--ca-file CA.pem --cert-file CERT.pem --key-file KEY.pem",
            " (TLS, callers show a certificate)",
        ),
    ],
)
def test_tls_needs_certificates(tls: dict[str, str], grpcurl: str, curl: str, chat: str, words: str) -> None:
    shown = lines({"providers": {"mock": {}}, "grpc": {"tls": tls}, "http": {"tls": tls}})

    assert shown[1:3] == [f"gRPC       127.0.0.1:50051{words}", f"HTTP       https://127.0.0.1:8080{words}"]
    assert shown[-3].startswith(f"grpcurl {grpcurl} -d ")
    assert shown[-2].startswith(f"curl -N {curl} https://127.0.0.1:8080/")
    assert shown[-1] == f"loom-grpc chat 'Say hello' {chat}"


def test_without_reflection_grpcurl_reads_the_protos() -> None:
    shown = lines({"providers": {"mock": {}}, "grpc": {"reflection": False}})

    assert " -import-path proto -proto loom_grpc/v1/llm_service.proto " in shown[-3]


@pytest.mark.parametrize(
    ("config", "named", "path", "flags"),
    [
        ({"providers": {"groq": {"api_key": "k"}, "mock": {}}}, '"provider":"mock",', "mock", " --provider mock"),
        ({"providers": {"openai": {"api_key": "k"}, "mock": {}}, "default_provider": "mock"}, "", "mock", ""),
        ({"providers": {"mock": {"enabled": False}, "openai": {"api_key": "k"}}}, "", "openai", ""),
        ({"providers": {"groq": {"api_key": "k", "models": ["m"]}}}, '"model":"m",', "groq", " --model m"),
        ({"providers": {"groq": {"api_key": "k"}}}, '"model":"MODEL",', "groq", " --model MODEL"),
    ],
)
def test_the_lines_name_what_the_server_could_not_choose(
    config: dict[str, Any], named: str, path: str, flags: str
) -> None:
    shown = lines(config)

    assert f' -d \'{{{named}"messages"' in shown[-3]
    assert f"/proxy/{path}/stream " in shown[-2]
    assert shown[-1] == f"loom-grpc chat 'Say hello'{flags}"


def test_pools_are_told_by_their_size() -> None:
    one, two = {"a": {"api_key": "k"}}, {"a": {"api_key": "k"}, "b": {"api_key": "l"}}
    shown = lines({"providers": {"groq": {"accounts": one}, "openai": {"default_model": "m", "accounts": two}}})

    assert "providers  groq (1 account), openai (m, 2 accounts)" in shown


def test_the_command_is_called_as_the_user_did(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "some bin" / "loom-grpc"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])

    elsewhere = command_name()
    monkeypatch.setenv("PATH", str(program.parent))

    assert elsewhere == f"'{program}'"
    assert command_name() == "loom-grpc"
