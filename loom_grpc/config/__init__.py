"""The configuration: one tree of typed sections, filled from a file, then the environment, then flags."""

from loom_grpc.config.error import ConfigError
from loom_grpc.config.reference import effective, reference_markdown
from loom_grpc.config.schema import (
    CompatConfig,
    Config,
    CorsConfig,
    GrpcConfig,
    HttpConfig,
    LogConfig,
    ProviderConfig,
    RetryConfig,
    TelemetryConfig,
    TimeoutsConfig,
    TlsConfig,
    check_exposure,
)
from loom_grpc.config.source import FLAGS, Loaded, load
from loom_grpc.config.value import REDACTED, split_reference

__all__ = [
    "FLAGS",
    "REDACTED",
    "CompatConfig",
    "Config",
    "ConfigError",
    "CorsConfig",
    "GrpcConfig",
    "HttpConfig",
    "Loaded",
    "LogConfig",
    "ProviderConfig",
    "RetryConfig",
    "TelemetryConfig",
    "TimeoutsConfig",
    "TlsConfig",
    "check_exposure",
    "effective",
    "load",
    "reference_markdown",
    "split_reference",
]
