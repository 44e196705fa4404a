"""Holds objects of the Prometheus operator against its own types: run by the Python of deploy/.tools, with a file of them."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from cloudcoil.models.prometheus_operator import v1  # type: ignore[import-not-found]

for manifest in yaml.safe_load_all(Path(sys.argv[1]).read_text(encoding="utf-8")):
    kind = getattr(v1, manifest["kind"])
    understood = kind.model_validate(manifest).model_dump(by_alias=True, exclude_unset=True, mode="json")
    if understood != manifest:
        sys.exit(
            f"{manifest['kind']} {manifest['metadata']['name']}: understood as {understood}, written as {manifest}"
        )
    print("understood", manifest["kind"], manifest["metadata"]["name"])
