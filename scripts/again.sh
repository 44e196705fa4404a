#!/usr/bin/env bash
# Runs a command that fetches, again where it fails: neither Go nor apt-get asks once more where a registry answers 503.
# scripts/again.sh COMMAND...
set -euo pipefail

for pause in 1 5 15; do
  if "$@"; then exit; fi
  echo "loom-grpc: failed, again in $pause s: $*" >&2
  sleep "$pause"
done
exec "$@"
