"""Whether keys fit together, for what is known of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom_grpc.config import ConfigError, load

PROVIDERS = "providers: {openai: {api_key: k}, mock: {}, zai: {enabled: false}}\n"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("opena/gpt-4o", "; did you mean openai?"),
        ("zai/glm-4.7", ""),  # not on
        ("gpt-4o", ""),
        ("openai", ""),
        ("openai/", ""),
        ("openai/default", ""),
    ],
)
def test_what_is_said_of_a_model_must_name_a_provider_that_is_on(tmp_path: Path, model: str, hint: str) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text(f"{PROVIDERS}models: {{'{model}': {{tools: true}}}}")

    with pytest.raises(ConfigError, match="must be provider/model") as caught:
        load(file, {}, {})

    [problem] = caught.value.problems
    assert problem.endswith(f": must be provider/model, the provider one of openai, mock{hint} (file {file}:2)")


def test_a_models_name_may_have_slashes(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text(f"{PROVIDERS}models: {{'openai/meta-llama/Llama-3.3': {{tools: true}}}}")

    assert [*load(file, {}, {}).config.models] == ["openai/meta-llama/Llama-3.3"]
