#!/usr/bin/env bash
# Writes requirements.lock anew from requirements.in. Go's versions are raised by `go get -tool`, which writes go.mod and go.sum.
set -euo pipefail
cd "$(dirname "$0")/../.."

.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
.venv/bin/uv pip compile --no-emit-index-url --quiet --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command "deploy/tools/lock.sh" deploy/tools/requirements.in --output-file deploy/tools/requirements.lock
