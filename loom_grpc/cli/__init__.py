"""The command line: `loom-grpc serve`, `chat` and so on."""

from loom_grpc.cli.command import main

__all__ = ["main"]
