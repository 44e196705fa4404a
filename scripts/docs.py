"""Writes the pages of docs/ that are generated from the code."""

from pathlib import Path
from typing import Final

from loom_grpc import config, telemetry
from loom_grpc.cli import reference

PAGES: Final = {
    "cli.md": reference.reference_markdown,
    "config.md": config.reference_markdown,
    "telemetry.md": telemetry.reference_markdown,
}

for name, page in PAGES.items():
    (Path(__file__).parents[1] / "docs" / name).write_text(page(), encoding="utf-8")
