"""The configuration: one tree of typed sections, filled from a file, then the environment, then flags."""

from loom_grpc.config.error import ConfigError
from loom_grpc.config.reference import effective, reference_markdown
from loom_grpc.config.schema import (
    AccountConfig,
    AdminConfig,
    CompatConfig,
    Config,
    CorsConfig,
    CredentialsConfig,
    DatabaseConfig,
    GrpcConfig,
    HttpConfig,
    LogConfig,
    OAuthConfig,
    ProviderConfig,
    RetryConfig,
    TelemetryConfig,
    TimeoutsConfig,
    TlsConfig,
    VaultConfig,
    check_exposure,
    oauth_of,
)
from loom_grpc.config.source import FLAGS, Loaded, load
from loom_grpc.config.value import REDACTED, account_id, split_reference

__all__ = [
    "FLAGS",
    "REDACTED",
    "AccountConfig",
    "AdminConfig",
    "CompatConfig",
    "Config",
    "ConfigError",
    "CorsConfig",
    "CredentialsConfig",
    "DatabaseConfig",
    "GrpcConfig",
    "HttpConfig",
    "Loaded",
    "LogConfig",
    "OAuthConfig",
    "ProviderConfig",
    "RetryConfig",
    "TelemetryConfig",
    "TimeoutsConfig",
    "TlsConfig",
    "VaultConfig",
    "account_id",
    "check_exposure",
    "effective",
    "load",
    "oauth_of",
    "reference_markdown",
    "split_reference",
]
