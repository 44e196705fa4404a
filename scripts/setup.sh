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

# Installs a package of Debian or Ubuntu, or says why it is needed: install_package PACKAGE REASON
install_package() {
  local as_root=()
  command -v apt-get >/dev/null || fail "$2"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "$1 is missing. As root: apt-get install $1"
    as_root=(sudo)
  fi
  echo "Installing the Debian package $1 ..."
  {
    scripts/again.sh "${as_root[@]}" apt-get -qq update
    scripts/again.sh "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
      apt-get -qq install --no-install-recommends "$1"
  } >/dev/null || fail "could not install $1. As root: apt-get install $1"
}

# Debian and Ubuntu keep half of `venv` in a package of its own.
add_missing_venv() {
  install_package "$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" \
    "$1 cannot make virtual environments: its module ensurepip is missing."
}

# The tests of the database start a server of their own; Debian keeps its programs out of the PATH.
has_postgres() {
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# The tests of the response cache start one too.
has_redis() {
  command -v redis-server >/dev/null
}

# Those of the bus start a RabbitMQ; where Debian has started one as a service, it is left alone.
has_rabbitmq() {
  command -v rabbitmq-server >/dev/null || [ -x /usr/sbin/rabbitmq-server ]
}

# The tests of browsers run one without a window.
has_chromium() {
  command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null
}

# Installs a server, or the browser, that only tests need. Where that cannot be done they are skipped, but in CI:
# install_server PACKAGE NAME VARIABLE
install_server() {
  if [ -n "${CI:-}" ]; then
    install_package "$1" "the tests need $2: install it, or name it in $3."
  elif [ -z "${!3:-}" ] && ! (install_package "$1" "") 2>/dev/null; then
    echo "loom-grpc: $2 is missing, and the tests that need it are skipped. As root: apt-get install $1; or name it in $3" >&2
  fi
}

make_venv() {
  local python
  python="$(find_python)"
  "$python" -c 'import ensurepip' 2>/dev/null || add_missing_venv "$python"
  "$python" -m venv --clear .venv
}

# Installs the packages of a folder in JavaScript; Node.js itself came with the Python packages: install_npm FOLDER
install_npm() {
  .venv/bin/npm ci --loglevel error --no-audit --no-fund --prefix "$1" >/dev/null || fail "could not install the npm packages of $1."
}

echo "Setting up .venv for: $1 (only once) ..."
if [ "$1" = dev ] && ! has_postgres; then
  install_server postgresql PostgreSQL LOOM_TEST_POSTGRES_URL
fi
if [ "$1" = dev ] && ! has_redis; then
  install_server redis-server Redis LOOM_TEST_REDIS_URL
fi
if [ "$1" = dev ] && ! has_rabbitmq; then
  install_server rabbitmq-server RabbitMQ LOOM_TEST_RABBITMQ_URL
fi
if [ "$1" = dev ] && ! has_chromium; then
  install_server chromium-headless-shell Chromium LOOM_TEST_CHROMIUM
fi
# After an upgrade of the system the Python that a virtual environment points to may be gone.
.venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input)
"${pip[@]}" --require-hashes -r "requirements/$1.lock"
"${pip[@]}" --no-deps --no-build-isolation -e .
# The clients in JavaScript and Go that the tests run, and ours that they put into a browser; at once, for they are mostly waited for.
if [ "$1" = dev ]; then
  install_npm tests/node &
  theirs=$!
  install_npm clients/typescript &
  ours=$!
  scripts/go_tools.sh
  wait "$theirs"
  wait "$ours"
fi
touch ".venv/.$1"
