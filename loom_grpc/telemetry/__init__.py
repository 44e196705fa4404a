"""Telemetry: metrics and spans by OpenTelemetry's conventions for generative AI, and a structured log."""

from loom_grpc.telemetry.act import Act
from loom_grpc.telemetry.record import Telemetry
from loom_grpc.telemetry.reference import reference_markdown

__all__ = ["Act", "Telemetry", "reference_markdown"]
