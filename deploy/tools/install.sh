#!/usr/bin/env bash
# Installs into deploy/.tools what checks deploy/: locked packages of Python and Go, Prometheus out of Debian's package, and a Debian with
# Python to build the image on where no registry of images is at hand.
set -euo pipefail
cd "$(dirname "$0")"
into="$(cd .. && pwd)/.tools"
python="${PYTHON:-../../.venv/bin/python}"
again="$(cd ../.. && pwd)/scripts/again.sh"

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
    { "$again" apt-get -qq update && (cd "$folder" && "$again" apt-get -qq -o APT::Sandbox::User=root download prometheus); } >/dev/null ||
    fail "could not fetch the Debian package prometheus; put promtool and prometheus into $into/bin."
  dpkg -x "$folder"/prometheus_*.deb "$folder/out"
  install -t "$into/bin" "$folder/out/usr/bin/promtool" "$folder/out/usr/bin/prometheus"
  rm -rf "$folder"
}

# Installs what builds the image, or tells why it cannot be built here.
has_builder() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    [ -z "${CI:-}" ] || fail "the image is built as root, with buildah and mmdebstrap of Debian."
    echo "loom-grpc: the tests that build and run the image are skipped: they need root, and buildah and mmdebstrap of Debian." >&2
    return 1
  fi
  local missing=()
  for program in buildah mmdebstrap; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  if [ "${#missing[@]}" != 0 ]; then
    echo "Installing the Debian packages ${missing[*]} ..."
    { "$again" apt-get -qq update && env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
      "$again" apt-get -qq install --no-install-recommends "${missing[@]}"; } >/dev/null || fail "could not install ${missing[*]}."
  fi
}

# Makes the file system of a small Debian of this machine's release, by this machine's sources of packages.
make_base() {
  local release sources left_out=(/usr/share/{doc,man,locale}/\*)
  # shellcheck source=/dev/null
  release="$(. /etc/os-release && echo "$VERSION_CODENAME")"
  mapfile -t sources < <(find /etc/apt -maxdepth 2 -name '*.list' -o -maxdepth 2 -name '*.sources')
  "$again" mmdebstrap --quiet --variant=minbase --include=python3,python3-pip --aptopt='Acquire::Retries "3"' \
    "${left_out[@]/#/--dpkgopt=path-exclude=}" "$release" "$into/base.new.tar" "${sources[@]}" ||
    fail "could not unpack a Debian for the image to be built on."
  mv "$into/base.new.tar" "$into/base.tar"
}

echo "Setting up deploy/.tools (only once) ..."
command -v go >/dev/null || fail "Go is missing; it builds kustomize and a collector."
mkdir -p "$into/bin"
base=
if [ ! -f "$into/base.tar" ] && has_builder; then
  echo "Unpacking a Debian with Python ..."
  make_base & # it waits for packages, while the others compile
  base=$!
fi
"$python" -m venv --clear "$into/venv"
"$into/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes -r requirements.lock
out="$("$again" go build -o "$into/bin" sigs.k8s.io/kustomize/kustomize/v5 ./collector 2>&1)" || fail "$out"
[ -x "$into/bin/promtool" ] && [ -x "$into/bin/prometheus" ] || unpack_prometheus
[ -z "$base" ] || wait "$base"
touch "$into/.done"
