#!/usr/bin/env bash
# Writes requirements/*.lock anew from pyproject.toml, raising every package as far as its bounds allow.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
lock=(.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes
  --custom-compile-command "make lock" pyproject.toml --extra server --group build)
"${lock[@]}" --output-file requirements/server.lock
"${lock[@]}" --group dev --constraints requirements/server.lock --output-file requirements/dev.lock
