#!/usr/bin/env bash
# Makes a release of what is committed, as far as this clone: version, changelog, commit and tags. Pushes nothing: scripts/release.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$#" = 1 ] || { echo "loom-grpc: say which version: make release VERSION=1.2.3" >&2; exit 2; }
"${PYTHON:-.venv/bin/python}" scripts/release.py prepare "$1"
git commit --quiet --all --message "Release $1"
git tag --annotate "v$1" --message "loom-grpc $1"
# A Go module that is not in the root folder has tags of its own (go.dev/ref/mod#vcs-version, seen 2026-11-21).
for module in clients/*/go.mod; do
  git tag --annotate "$(dirname "$module")/v$1" --message "loom-grpc $1"
done
echo "Released $1 in this clone; docs/release.md says how it goes on. To take it back:"
echo "  git tag --delete $(git tag --points-at HEAD | tr '\n' ' ')&& git reset --hard HEAD~1"
