#!/usr/bin/env bash
# Installs into deploy/.tools what checks deploy/: locked packages of Python and Go, and Prometheus out of Debian's package.
set -euo pipefail
cd "$(dirname "$0")"
into="$(cd .. && pwd)/.tools"
python="${PYTHON:-../../.venv/bin/python}"

fail() {
  echo "loom-grpc: $*" >&2
  exit 1
}

# Takes the programs out of Debian's package, without installing it: that would start a server.
unpack_prometheus() {
  command -v apt-get >/dev/null || fail "promtool is missing: put it into $into/bin, and prometheus too."
  local folder
  echo "Unpacking the Debian package prometheus ..."
  folder="$(mktemp -d)"
  # As root, apt-get would give up root to write here, and say so.
  (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download prometheus >/dev/null 2>&1) ||
    { apt-get -qq update && (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download prometheus); } >/dev/null ||
    fail "could not fetch the Debian package prometheus; put promtool and prometheus into $into/bin."
  dpkg -x "$folder"/prometheus_*.deb "$folder/out"
  install -t "$into/bin" "$folder/out/usr/bin/promtool" "$folder/out/usr/bin/prometheus"
  rm -rf "$folder"
}

echo "Setting up deploy/.tools (only once) ..."
command -v go >/dev/null || fail "Go is missing; it builds kustomize."
mkdir -p "$into/bin"
"$python" -m venv --clear "$into/venv"
"$into/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes -r requirements.lock
out="$(go build -o "$into/bin/kustomize" sigs.k8s.io/kustomize/kustomize/v5 2>&1)" || fail "$out"
[ -x "$into/bin/promtool" ] && [ -x "$into/bin/prometheus" ] || unpack_prometheus
touch "$into/.done"
