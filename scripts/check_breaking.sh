#!/usr/bin/env bash
# Fails when the proto files break callers of the last release, or before the first one of the last commit on main that had other proto files.
set -euo pipefail
cd "$(dirname "$0")/.."

# A branch is measured against the main it will land on; a clone of main itself against main's own past.
main=HEAD
for name in main origin/main; do
  if git rev-parse --quiet --verify "$name^{commit}" >/dev/null; then main="$name"; fi
done

# Prints the newest commit whose protos differ from those of the working tree: a commit compared with itself breaks nothing.
find_before() {
  local commit
  for commit in $(git log --first-parent --format=%H "$main" -- proto); do
    if [ -n "$(git ls-tree "$commit" proto)" ] && ! git diff --quiet "$commit" -- proto; then
      echo "$commit"
      return
    fi
  done
}

before="$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || find_before)"
if [ -z "$before" ]; then
  echo "No earlier protos on $main: nothing to break."
  exit
fi
# As a folder of its own, since buf would clone the repository and could not do so in a linked worktree.
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
git archive "$before" proto | tar -x -C "$folder"
cp buf.yaml "$folder"
.venv/bin/buf breaking --against "$folder"
