"""Every reason has its row, and an error tells what its row says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from google.rpc import code_pb2

from loom_grpc.core import errors
from loom_grpc.core.errors import TABLE, LlmError, Row, reason_name
from loom_grpc.v1.error_pb2 import ERROR_REASON_UNSPECIFIED, ErrorReason
from loom_grpc.v1.llm_service_pb2 import LlmResponse

ROOT = Path(__file__).parents[2]


def test_every_reason_of_the_contract_has_a_row_and_a_name_here() -> None:
    reasons = set(ErrorReason.values()) - {ERROR_REASON_UNSPECIFIED}

    assert set(TABLE) == reasons
    assert {getattr(errors, reason_name(reason)) for reason in reasons} == reasons


def test_every_code_and_status_says_that_a_call_failed() -> None:
    assert {row.grpc for row in TABLE.values()} <= set(code_pb2.Code.values()) - {code_pb2.OK}
    assert all(400 <= row.http < 600 for row in TABLE.values())


def test_what_may_be_asked_again_may_be_asked_elsewhere_too() -> None:
    assert [reason_name(reason) for reason, row in TABLE.items() if row.retry and not row.next] == []


def test_only_failures_of_providers_are_tried_again() -> None:
    retried = {reason_name(reason) for reason, row in TABLE.items() if row.retry}

    assert retried == {"PROVIDER_RATE_LIMITED", "PROVIDER_UNAVAILABLE", "PROVIDER_TIMEOUT"}


def test_an_error_carries_its_row_and_what_is_known() -> None:
    partial = LlmResponse(id="a")
    error = LlmError(
        errors.PROVIDER_RATE_LIMITED, "Slow down.", retry_after=2.5, partial=partial, detail="secret", provider="openai"
    )

    assert error.row == Row(code_pb2.RESOURCE_EXHAUSTED, 429, retry=True, next=True)
    assert (error.name, error.message, str(error)) == ("PROVIDER_RATE_LIMITED", "Slow down.", "Slow down.")
    assert (error.retry_after, error.partial, error.metadata) == (2.5, partial, {"provider": "openai"})
    assert repr(error) == "LlmError(PROVIDER_RATE_LIMITED, 'Slow down.')"


def test_the_page_of_errors_is_in_step_with_the_table() -> None:
    page: str = runpy.run_path(str(ROOT / "scripts" / "docs.py"))["errors_markdown"]()

    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == page
    for reason in TABLE:
        assert f"| `{reason_name(reason)}` |" in page


@pytest.mark.parametrize("reason", TABLE, ids=reason_name)
def test_a_reason_is_named_as_the_contract_names_it(reason: ErrorReason.ValueType) -> None:
    assert ErrorReason.Name(reason) == f"ERROR_REASON_{LlmError(reason, '').name}"
