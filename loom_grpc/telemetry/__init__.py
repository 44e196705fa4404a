"""Telemetry: metrics and spans by OpenTelemetry's conventions for generative AI, and a structured log."""

from loom_grpc.telemetry.record import Telemetry

__all__ = ["Telemetry"]
