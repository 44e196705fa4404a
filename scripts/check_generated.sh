#!/usr/bin/env bash
# Fails, and shows the difference, when loom_grpc/v1 is not what the proto files generate.
set -euo pipefail
cd "$(dirname "$0")/.."

fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
scripts/generate.sh "$fresh"
if ! diff -ru --exclude=__init__.py --exclude=__pycache__ loom_grpc/v1 "$fresh/loom_grpc/v1"; then
  echo "loom_grpc/v1 is out of step with proto/: run make proto" >&2
  exit 1
fi
