#!/usr/bin/env bash
# Writes the Python code of every proto file below the given folder: scripts/generate.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

rm -f "$1"/loom_grpc/v1/*_pb2*
protoc=(.venv/bin/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy
  --plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc)
"${protoc[@]}" --python_out="$1" --mypy_out=quiet:"$1" proto/loom_grpc/v1/*.proto
# Only these hold services: for any other file the plugins write modules with nothing in them.
"${protoc[@]}" --grpc_python_out="$1" --mypy_grpc_out=quiet:"$1" proto/loom_grpc/v1/*_service.proto
