"""Writes what is inside each part of a release as CycloneDX, from docs/licenses.md: sbom.py FOLDER.

The same commit makes the same files; times are those of SOURCE_DATE_EPOCH, else of the commit.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Final

import licenses
from release import source_version

# https://cyclonedx.org/docs/1.6/json/, seen 2026-11-21.
SPEC: Final = {
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
}


def main() -> int:
    """Writes a file for each part and returns the exit code."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder, when = Path(sys.argv[1]), timestamp()
    folder.mkdir(parents=True, exist_ok=True)
    for part, packages in licenses.page().items():
        name = "loom-grpc" if part == licenses.ROOT_PART else f"loom-grpc-{part.replace('clients/', 'client-')}"
        text = json.dumps(bill(name, part, packages, when), indent=2) + "\n"
        (folder / f"{name}-{source_version()}.cdx.json").write_text(text)
    return 0


def bill(name: str, part: str, packages: list[licenses.Package], when: str) -> dict[str, Any]:
    """Returns the bill of materials of one part."""
    version = source_version()
    own = {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": version,
        "licenses": [{"expression": "Apache-2.0"}],
    }
    components = [component(licenses.purl(part, package), package) for package in packages]
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([name, version, when, components]))
    return SPEC | {
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {"timestamp": when, "component": own},
        "components": components,
    }


def component(purl: str, package: licenses.Package) -> dict[str, Any]:
    """Returns a package as a component."""
    return {
        "type": "library",
        "bom-ref": purl,
        "name": re.sub("^pkg:[^/]+/", "", package.name),
        "version": package.version,
        "licenses": [{"expression": package.license}],
        "purl": purl,
    }


def timestamp() -> str:
    """Returns when the release was made."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or committed()
    return dt.datetime.fromtimestamp(int(given), dt.UTC).isoformat()


def committed() -> str:
    """Returns when the last commit was made, in seconds since 1970."""
    command = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(command, cwd=licenses.ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
