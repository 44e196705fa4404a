"""Writes the pages of docs/ that are generated from the code."""

from pathlib import Path
from typing import Final

from loom_grpc.config import reference_markdown

PAGES: Final = {"config.md": reference_markdown}

for name, page in PAGES.items():
    (Path(__file__).parents[1] / "docs" / name).write_text(page(), encoding="utf-8")
