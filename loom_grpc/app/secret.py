"""Where the secrets of a process come from."""

from __future__ import annotations

from collections.abc import Mapping

from loom_grpc.config import Config
from loom_grpc.credentials.secret import Secrets
from loom_grpc.telemetry import Telemetry


def make_secrets(config: Config, environ: Mapping[str, str], telemetry: Telemetry) -> Secrets:
    """Makes the place of a process's secrets: the telemetry hides their texts, and is told when one changes or cannot be had."""
    return Secrets(
        environ,
        config.vault,
        on_text=telemetry.hide,
        on_trouble=telemetry.secret_unavailable,
        on_rotation=telemetry.secret_rotated,
    )
