#!/usr/bin/env bash
# Generates the code of every language anew and fails, and shows the difference, where it is not what was there. The fresh code stays.
set -euo pipefail
cd "$(dirname "$0")/.."

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# Copies what is or could be committed, so that neither built things nor the state of git count: keep NAME
keep() {
  mkdir "$folder/$1"
  git ls-files -z --cached --others --exclude-standard -- clients loom_grpc/v1 |
    tar --create --null --files-from - --ignore-failed-read --warning=no-failed-read | tar --extract --directory "$folder/$1"
}

keep before
make gen
keep after
if ! (cd "$folder" && diff -ruN --no-dereference before after); then
  echo "The generated code was out of step with proto/; it is right now: commit it." >&2
  exit 1
fi
