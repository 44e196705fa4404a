#!/usr/bin/env bash
# Installs the programs in Go that only tests need into .venv/bin: those of tests/tools/go.mod, as its go.sum has them.
# Where that cannot be done their tests are skipped, but in CI.
set -euo pipefail
cd "$(dirname "$0")/.."

install() {
  command -v go >/dev/null || { echo "there is no Go on this machine" && return 1; }
  # Whatever flags and workspace there are around it; and as the Go client is built, so that what both are made of is built once.
  GOBIN="$PWD/.venv/bin" GOWORK=off GOFLAGS=-mod=readonly \
    scripts/again.sh go -C tests/tools install -ldflags="-s -w" tool 2>&1
}

if ! said="$(install)"; then
  echo "loom-grpc: grpcurl and grpc-health-probe are missing, and the tests that need them are skipped: $said" >&2
  echo "loom-grpc: install Go 1.26 or newer and run scripts/go_tools.sh" >&2
  [ -z "${CI:-}" ]
fi
