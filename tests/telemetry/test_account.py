"""What the log tells of accounts and secrets."""

from __future__ import annotations

from loom_grpc.core.account import AccountRef
from loom_grpc.core.errors import PROVIDER_QUOTA_EXCEEDED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.health import Condition, Event
from tests.telemetry.lines import REQUEST_ID, Log, account, call, telemetry

USED_UP = LlmError(PROVIDER_QUOTA_EXCEEDED, "The quota is used up.", retry_after=60)


def test_a_change_of_account_names_the_one_that_failed() -> None:
    log = Log()

    telemetry(log).failing_over(call(attempt=1), account(), USED_UP)

    assert log.lines() == [
        {
            "level": "warning",
            "event": "failing_over",
            "request_id": REQUEST_ID,
            "provider": "openai",
            "model": "gpt-4o",
            "account": "team-a",
            "attempt": 1,
            "reason": "PROVIDER_QUOTA_EXCEEDED",
            "message": "The quota is used up.",
            "retry_after_s": 60,
        }
    ]


def test_a_pause_has_its_length_and_its_cause() -> None:
    log = Log()
    resting = account()
    resting.health.on_change = lambda before: measured.account_changed(resting, before)
    measured = telemetry(log)

    resting.health.record(Event.EXHAUSTED, USED_UP)

    assert log.lines() == [
        {
            "level": "warning",
            "event": "account",
            "status": "cooling_down",
            "provider": "openai",
            "account": "team-a",
            "before": "available",
            "cooling_s": 60.0,
            "last_error": "The quota is used up.",
        }
    ]


def test_an_account_that_is_back_is_good_news() -> None:
    log = Log()

    telemetry(log).account_changed(account(), Condition.COOLING)

    assert log.lines() == [
        {
            "level": "info",
            "event": "account",
            "status": "available",
            "provider": "openai",
            "account": "team-a",
            "before": "cooling_down",
        }
    ]


def test_calls_name_their_account() -> None:
    log = Log()

    telemetry(log).finished(call(account="team-a"), None, 0.1, "grpc")

    assert [line["account"] for line in log.lines()] == ["team-a"]


def test_what_goes_wrong_with_tokens_and_secrets_is_told_without_them() -> None:
    log = Log()
    measured = telemetry(log)
    measured.hide("refresh-token-of-alice")

    measured.refresh_failed(AccountRef("openai", "alice"), LlmError(PROVIDER_UNAVAILABLE, "No way."))
    measured.tokens_unsaved(AccountRef("openai", "alice"), "cannot write refresh-token-of-alice")
    measured.secret_unavailable("providers.openai.api_key", "Vault is sealed")
    measured.secret_rotated("providers.openai.api_key")

    assert log.lines() == [
        {
            "level": "warning",
            "event": "refresh_failed",
            "provider": "openai",
            "account": "alice",
            "reason": "PROVIDER_UNAVAILABLE",
            "message": "No way.",
        },
        {
            "level": "error",
            "event": "tokens_unsaved",
            "provider": "openai",
            "account": "alice",
            "message": "cannot write [REDACTED]",
        },
        {
            "level": "error",
            "event": "secret_unavailable",
            "key": "providers.openai.api_key",
            "message": "Vault is sealed",
        },
        {"level": "info", "event": "secret_rotated", "key": "providers.openai.api_key"},
    ]
