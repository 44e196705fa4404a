#!/usr/bin/env bash
# Installs one of the locked sets of packages, and this project, into .venv: scripts/setup.sh server|dev
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "loom-grpc: $*" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11 or newer. Install it, or name it: make run PYTHON=/path/to/python3"
}

# Debian and Ubuntu keep half of `venv` in a package of its own.
add_missing_venv() {
  local package as_root=()
  package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  command -v apt-get >/dev/null || fail "$1 cannot make virtual environments: its module ensurepip is missing."
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "$package is missing. As root: apt-get install $package"
    as_root=(sudo)
  fi
  echo "Installing the Debian package $package ..."
  {
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq install --no-install-recommends "$package"
  } >/dev/null || fail "could not install $package. As root: apt-get install $package"
}

make_venv() {
  local python
  python="$(find_python)"
  "$python" -c 'import ensurepip' 2>/dev/null || add_missing_venv "$python"
  "$python" -m venv --clear .venv
}

echo "Setting up .venv for: $1 (only once) ..."
# After an upgrade of the system the Python that a virtual environment points to may be gone.
.venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input)
"${pip[@]}" --require-hashes -r "requirements/$1.lock"
"${pip[@]}" --no-deps --no-build-isolation -e .
touch ".venv/.$1"
