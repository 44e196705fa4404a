"""The raw results: a JSON file for each part, with where it comes from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.faults.record import Record

PARTS: Final = ("faults", "failover", "llmock", "records", "bench", "peers")
"""The parts of the page, in their order."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What was measured in one go."""

    about: dict[str, str]
    results: Any
    """A list of records, or what the benchmark wrote."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def records(self) -> list[Record]:
        """Returns the results as records."""
        return [Record(**record) for record in self.results]


def of_records(about: dict[str, str], records: Sequence[Record], **settings: Any) -> Part:
    """Makes a part of records."""
    return Part(about, [dataclasses.asdict(record) for record in records], settings)


def write(folder: Path, name: str, part: Part) -> None:
    """Writes a part in place of what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(dataclasses.asdict(part), indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Part]:
    """Reads all parts that there are."""
    files = {name: folder / f"{name}.json" for name in PARTS}
    return {name: Part(**json.loads(file.read_text(encoding="utf-8"))) for name, file in files.items() if file.exists()}
