"""Asks a service of advisories for known weaknesses of all that docs/licenses.md names: audit.py [--service URL].

Exit codes: 0 none is known, 1 some are, 3 the service could not be asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import licenses

SERVICE: Final = "https://api.osv.dev/v1/querybatch"
"""OSV, which has the advisories of every language's registry (google.github.io/osv.dev/post-v1-querybatch, seen 2026-11-21)."""
MOST: Final = 1000
"""It takes so many questions at once."""
WAIT_S: Final = 30


def main() -> int:
    """Asks, prints what is found and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", default=SERVICE)
    service: str = parser.parse_args().service
    packages = [licenses.purl(part, package) for part, packages in licenses.page().items() for package in packages]
    try:
        found = [
            line for start in range(0, len(packages), MOST) for line in ask(service, packages[start : start + MOST])
        ]
    except (OSError, ValueError, LookupError) as error:
        words = f"{len(packages)} packages are NOT audited: {service} could not be asked: {error}"
        print(f"loom-grpc: {words}", file=sys.stderr)
        return 3
    for line in found:
        print(line)
    print(f"{len(packages)} packages, {len(found)} of them with known weaknesses")
    return 1 if found else 0


def ask(service: str, packages: list[str]) -> Iterator[str]:
    """Yields a line for each package of which a weakness is known."""
    questions = json.dumps({"queries": [{"package": {"purl": purl}} for purl in packages]})
    request = urllib.request.Request(service, questions.encode(), {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - whoever calls says where
        results: list[dict[str, Any]] = json.load(answer)["results"]
    for purl, result in zip(packages, results, strict=True):
        if "vulns" in result:
            yield f"{purl}: {', '.join(known['id'] for known in result['vulns'])}"


if __name__ == "__main__":
    sys.exit(main())
