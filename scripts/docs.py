"""Writes the pages of docs/ that are generated from the code."""

import re
from pathlib import Path
from typing import Final

from google.rpc import code_pb2

from loom_grpc import config, telemetry
from loom_grpc.cli import reference
from loom_grpc.core.errors import DOMAIN, TABLE, reason_name

ROOT: Final = Path(__file__).parents[1]

ERRORS_HEAD: Final = f"""\
# Errors

<!-- Generated from loom_grpc/core/errors.py and proto/loom_grpc/v1/error.proto by `make docs`; do not edit. -->

On gRPC a failed call ends with the code below and with `google.rpc.ErrorInfo`, whose `reason` is the name below and whose
`domain` is `{DOMAIN}`; with `google.rpc.RetryInfo` too when it is known how long to wait. Its `metadata` has `request_id`, and
where they are known `field` (the field of the request that is wrong), `provider`, `provider_status` and `provider_code` (what
the provider said). A stream has the error as its last event before that, with what arrived so far in `partial`. On HTTP the
status is the one below, in the error body of the dialect that the caller speaks; only an unavailable provider is 502 at Loom's
endpoints, as it is in Loom ([http.md](http.md)).

"Again" says whether the server asks the same account of the provider once more, and "next" whether another account may be
asked instead; neither happens after the first event of an answer has been sent.

| reason | gRPC | HTTP | again | next | meaning |
|---|---|---|---|---|---|
"""


def errors_markdown() -> str:
    """Writes the table of errors, with the proto file's comment for each."""
    proto = (ROOT / "proto" / "loom_grpc" / "v1" / "error.proto").read_text(encoding="utf-8")
    comments = re.findall(r"  // (.+)\n  ERROR_REASON_(\w+) =", proto)
    meanings = {name: meaning for meaning, name in comments}
    rows = [
        f"| `{name}` | {code_pb2.Code.Name(row.grpc)} | {row.http} | {_yes(row.retry)} | {_yes(row.next)} | {meanings[name]} |"
        for name, row in ((reason_name(reason), row) for reason, row in TABLE.items())
    ]
    return ERRORS_HEAD + "\n".join(rows) + "\n"


def _yes(value: bool) -> str:
    return "yes" if value else ""


PAGES: Final = {
    "cli.md": reference.reference_markdown,
    "config.md": config.reference_markdown,
    "errors.md": errors_markdown,
    "telemetry.md": telemetry.reference_markdown,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (ROOT / "docs" / page).write_text(write(), encoding="utf-8")
