"""Budgets that would not hold are refused, and so is counting elsewhere while the server runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom_grpc.config import Config, ConfigError, changed_keys, load, refuse_fixed

BUDGET = "{scope: user, id: ann, usd: "
REDIS = "limits: {redis_url: 'redis://h/0'}\n"
ON = "access: {enabled: true}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"spending: {{budgets: [{BUDGET}5}}]}}",
            (
                "spending.budgets: count for nobody while callers need not show who they are; "
                "set access.enabled, access.jwt or access.certificates"
            ),
        ),
        (
            f"{ON}{REDIS}spending: {{budgets: [{BUDGET}1}}, {BUDGET}9007199.254740992}}]}}",
            "spending.budgets.1.usd: must be at most 9007199.254740991, which is what Redis (limits.redis_url) counts exactly",
        ),
        (
            "limits: {redis_url: 'http://u:p@h/0'}",
            "limits.redis_url: must begin with one of redis://, rediss://, unix://",
        ),
    ],
)
def test_what_would_not_hold_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})

    [found] = caught.value.problems
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "text", [f"{REDIS}spending: {{budgets: [{BUDGET}9007199.254740991}}]}}", f"spending: {{budgets: [{BUDGET}1e8}}]}}"]
)
def test_what_can_be_counted_is_taken(tmp_path: Path, text: str) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text(ON + text)

    assert len(load(file, {}, {}).config.spending.budgets) == 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"limits": {"redis_url": "redis://h/0"}}, "limits.redis_url"),
        ({"spending": {"without_redis": "local"}}, "spending.without_redis"),
    ],
)
def test_where_is_counted_cannot_change_while_the_server_runs(changes: dict[str, object], key: str) -> None:
    keys = changed_keys(Config(), Config.model_validate(changes))

    with pytest.raises(ConfigError, match=rf"^{key}: cannot change while the server runs"):
        refuse_fixed(keys)
    refuse_fixed(changed_keys(Config(), Config.model_validate({"limits": {"key": {"requests_per_minute": 5}}})))
