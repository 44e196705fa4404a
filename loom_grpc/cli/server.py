"""The server that the client commands ask."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import grpc

from loom_grpc.cli.output import UsageError, error, span
from loom_grpc.client import ErrorReason, LlmError, LoomClient

_ADVICE: Final[Mapping[str, str]] = {
    "UNAUTHENTICATED": "set LOOM_API_KEY to a key of this server",
    "MODEL_NOT_FOUND": "`loom-grpc models` lists what there is",
    "PROVIDER_NOT_CONFIGURED": "give the server its key, or see `loom-grpc models` for what there is",
}


def make_client(arguments: argparse.Namespace, *variables: str, timeout_s: float | None = None) -> LoomClient:
    """Makes the client for `--target`, its TLS flags and the first key in `variables`, else LOOM_API_KEY; raises `UsageError`."""
    variable, key = _key((*variables, "LOOM_API_KEY"))
    options = {"grpc.ssl_target_name_override": arguments.server_name} if arguments.server_name else None
    try:
        return LoomClient(
            arguments.target, api_key=key or None, tls=_tls(arguments), timeout_s=timeout_s, options=options
        )
    except ValueError:
        raise UsageError(f"{variable}: must be printable ASCII without spaces") from None


def _key(variables: Sequence[str]) -> tuple[str, str]:
    """Returns the first variable that holds a key, and the key; an empty key when none does."""
    keys = ((variable, os.environ.get(variable, "").strip()) for variable in variables)
    return next((found for found in keys if found[1]), ("", ""))


def _tls(arguments: argparse.Namespace) -> bool | grpc.ChannelCredentials:
    files = (arguments.ca_file, arguments.key_file, arguments.cert_file)
    if not any(files):
        return bool(arguments.tls)
    if bool(arguments.key_file) != bool(arguments.cert_file):
        raise UsageError("--cert-file and --key-file: give both or neither")
    return grpc.ssl_channel_credentials(*(_content(file) for file in files))


def _content(file: str | None) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise UsageError(f"{file}: {problem.strerror}") from None


def report(failure: LlmError, target: str, advice: Mapping[str, str] = _ADVICE) -> None:
    """Writes why a call failed and what to do, which `advice` has by reason."""
    if "Connection refused" in failure.message and failure.metadata.get("grpc_code") == "UNAVAILABLE":
        error(f"no server at {target}; start one with `loom-grpc serve`")
        return
    what_to_do = advice.get(failure.name, "")
    if failure.retry_after is not None:
        what_to_do = f"try again in {span(math.ceil(failure.retry_after))}"
    text = failure.message.rstrip(".") + (f"; {what_to_do}" if what_to_do else "")
    error(f"{text} ({_label(failure)})")


def _label(failure: LlmError) -> str:
    """Names the reason, and for a fault of the server the id that its log has."""
    request_id = failure.metadata.get("request_id", "")
    if failure.reason == ErrorReason.ERROR_REASON_INTERNAL and request_id:
        return f"{failure.name}, request {request_id}"
    return failure.name
